from core.regimes.full_data.config import Config

__all__ = ["Config"]
