from core.regimes.multi_task.config import Config

__all__ = ["Config"]
