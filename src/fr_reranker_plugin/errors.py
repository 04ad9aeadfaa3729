"""Every error this package raises on purpose, on one screen.

RerankerError
├── SettingsError(ValueError)              a value you passed is not allowed
│   ├── FilterError                        a filter is malformed, or compares what cannot be compared
│   └── DuplicateDocumentError             a document with this id is there already
├── CollectionError(ValueError)            a file is malformed: says path and line
├── MissingDependencyError(ImportError)    says which extra to install
├── ModelLoadError(RuntimeError)           the checkpoint cannot be found, is not supported or cannot be read
├── ScoringError(RuntimeError)             the model failed on a pair or text; the cause is attached
├── TrainingError(RuntimeError)            training, or making its data, went wrong; says what to do
├── DeviceLostError(RuntimeError)          the device answers nothing any more; a new process is needed
├── GpuMemoryError(RuntimeError)           an index does not fit into the GPU that was asked for
├── IndexFolderError(RuntimeError)         an index folder is missing, damaged, of another model or too new
├── IndexLockedError(RuntimeError)         another process, or another part of this one, writes to the folder
├── IndexClosedError(RuntimeError)         the index was used after `close()`
├── OverloadedError(RuntimeError)          the queue is full; try again later
├── RemoteError(RuntimeError)              a server cannot be reached, refuses, or answers what cannot be used
├── DeadlineExceededError(TimeoutError)    no answer within the time you gave
└── ScorerClosedError(RuntimeError)        used after `close()`, or after a fork

Each leaf is also the built-in error that a caller would already catch.
"""


class RerankerError(Exception):
    """Base of every error this package raises on purpose."""


class SettingsError(RerankerError, ValueError):
    """A value you passed is not allowed."""


class FilterError(SettingsError):
    """A metadata filter is malformed, or compares values that have no order."""


class DuplicateDocumentError(SettingsError):
    """A document cannot be added because its id is taken; nothing was added."""


class CollectionError(RerankerError, ValueError):
    """A file of a collection, a run or a list of passages is malformed."""


class MissingDependencyError(RerankerError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class ModelLoadError(RerankerError, RuntimeError):
    """A checkpoint cannot be found, is of a kind we do not support, or cannot be read."""


class ScoringError(RerankerError, RuntimeError):
    """The model failed on a pair or text of this request; `__cause__` holds the model's own error."""


class TrainingError(RerankerError, RuntimeError):
    """Training, or the making of its data, went wrong and was stopped; the message says what was seen, what to do."""


class DeviceLostError(RerankerError, RuntimeError):
    """A device failed in a way that only a new process recovers from; its requests are not answered."""


class GpuMemoryError(RerankerError, RuntimeError):
    """The vectors of an index do not fit into the memory of the GPU that was asked for."""


class IndexFolderError(RerankerError, RuntimeError):
    """An index folder is missing, damaged, made with another model or by a newer version; nothing was changed in it."""


class IndexLockedError(RerankerError, RuntimeError):
    """The folder has a writer already; the message names its process."""


class IndexClosedError(RerankerError, RuntimeError):
    """An index was used after `close()`."""


class OverloadedError(RerankerError, RuntimeError):
    """Too many pairs or texts are waiting already; try again later.

    :param message: What was full.
    :param waiting: How many pairs or texts were waiting when this request was refused; `None` if a server refused it,
        which does not say.
    :param retry_after: Seconds until there should be room for it, estimated from the measured speed.
    """

    # values have defaults, so that an error can be copied and pickled: it is made of its message, and then filled
    def __init__(self, message: str, *, waiting: int | None = None, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.waiting = waiting
        self.retry_after = retry_after


class RemoteError(RerankerError, RuntimeError):
    """A server cannot be reached, refuses what it is asked, or gives an answer that cannot be used.

    :param message: What was expected, what came, what to do.
    :param status: The HTTP status of its answer; `None` if there was none, or it is not to blame.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DeadlineExceededError(RerankerError, TimeoutError):
    """The request was not answered within its time; its remaining pairs are not scored."""


class ScorerClosedError(RerankerError, RuntimeError):
    """The scorer or encoder was used after `close()`, or in a forked child of the process that made it."""
