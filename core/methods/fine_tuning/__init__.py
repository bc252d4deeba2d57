from core.methods.fine_tuning.config import Config

__all__ = ["Config"]
