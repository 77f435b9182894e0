"""The errors cellgate raises, all catchable the way code in the wild already catches them.

``torch.nn.LSTM`` raises ``ValueError`` for some wrong shapes and ``RuntimeError`` for their siblings, so callers catch
either. Every input error here is therefore both.
"""

__all__ = ["BackendError", "CellgateError", "DtypeError", "InputError", "ShapeError"]


class CellgateError(Exception):
    """Root of every error that cellgate raises on purpose."""


class InputError(CellgateError, ValueError, RuntimeError):
    """An argument has the wrong value. The message reads "name: expected ..., got ...: fix"."""


class ShapeError(InputError):
    """A tensor has the wrong number of dimensions or the wrong size in one of them."""


class DtypeError(InputError, TypeError):
    """A tensor has a dtype, or an argument a type, that does not go with the weights or with the argument's role."""


class BackendError(CellgateError, RuntimeError):
    """A backend asked for by name cannot run this problem; the message holds the reason."""
