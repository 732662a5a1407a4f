"""Deep Delta Learning decoders in PyTorch: the readable counterpart of the server's models."""

from .config import VARIANTS, ModelConfig
from .model import Decoder, Trace, load

__all__ = ["VARIANTS", "Decoder", "ModelConfig", "Trace", "load"]
