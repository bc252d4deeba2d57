from core.methods.linear_probe.config import Config

__all__ = ["Config"]
