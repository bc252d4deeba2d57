from core.regimes.few_shot.config import Config

__all__ = ["Config"]
