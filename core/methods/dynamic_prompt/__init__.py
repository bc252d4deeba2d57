from core.methods.dynamic_prompt.config import Config

__all__ = ["Config"]
