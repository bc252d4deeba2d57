from core.methods.lora.config import Config

__all__ = ["Config"]
