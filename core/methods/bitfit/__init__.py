from core.methods.bitfit.config import Config

__all__ = ["Config"]
