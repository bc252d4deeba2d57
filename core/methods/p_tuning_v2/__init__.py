from core.methods.p_tuning_v2.config import Config

__all__ = ["Config"]
