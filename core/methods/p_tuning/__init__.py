from core.methods.p_tuning.config import Config

__all__ = ["Config"]
