from core.methods.smop.config import Config

__all__ = ["Config"]
