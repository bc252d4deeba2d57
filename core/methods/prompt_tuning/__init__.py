from core.methods.prompt_tuning.config import Config

__all__ = ["Config"]
