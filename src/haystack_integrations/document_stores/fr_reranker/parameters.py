"""What a document store is set to: checked when it is made, saved with its pipeline, and opened at the first use."""

import inspect
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from haystack import default_from_dict, default_to_dict

from fr_reranker_plugin.errors import IndexFolderError, SettingsError
from fr_reranker_plugin.retrieval.dense_index import DenseIndex
from fr_reranker_plugin.retrieval.encoder_identity import EncoderIdentity
from fr_reranker_plugin.retrieval.index_manifest import MANIFEST_NAME, Manifest
from fr_reranker_plugin.retrieval.index_settings import IndexKind, IndexSettings, SearchDevice, check_device
from fr_reranker_plugin.retrieval.open_folders import OpenFolder
from haystack_integrations.components.rankers.fr_reranker.checks import check_flag


class StoreParameters:
    """The parameters of a store, each an attribute of the same name, and the index that they lead to."""

    def __init__(  # noqa: PLR0913 -- flat as YAML needs it
        self,
        folder: str | Path | None = None,
        *,
        embedding_dim: int = 384,
        kind: IndexKind = "flat",
        encoder: EncoderIdentity | dict[str, Any] | None = None,
        return_embedding: bool = False,
        read_only: bool = False,
        memory_map: bool = False,
        verify: bool = True,
        save_on_write: bool = False,
        device: SearchDevice = "auto",
        hnsw_neighbours: int = 32,
        hnsw_build_width: int = 128,
        hnsw_search_width: int = 128,
        ivf_lists: int | None = None,
        ivf_probes: int = 32,
        pq_bytes: int | None = None,
    ) -> None:
        """Note and check the parameters; nothing is opened or read before the first use.

        :param folder: Where the index lies, or where `save` will put it. `None`: in memory only.
        :param embedding_dim: Length of the embeddings: 384 for the small bi-encoder inside this package.
        :param kind: How vectors are found: `"flat"` compares all, `"hnsw"`, `"ivf"` and `"ivfpq"` are for millions.
        :param encoder: What the embeddings were made with. It is saved with the index, and a folder whose embeddings
            were made with another one is refused.
        :param return_embedding: Whether the documents that the store gives carry their embeddings.
        :param read_only: Only read the folder, beside its writer and other readers.
        :param memory_map: Leave the vectors on disk; with `read_only` only.
        :param verify: Compare the checksums of all files when the folder is opened.
        :param save_on_write: Save into the folder after each change; each time the whole index is written.
        :param device: Where vectors are compared; `"auto"` is a GPU if FAISS sees one, else the CPU.
        :param hnsw_neighbours: Links per vector of the graph.
        :param hnsw_build_width: How many candidates are weighed when a vector is linked in.
        :param hnsw_search_width: How many candidates are kept during a search.
        :param ivf_lists: Number of lists; `None`: by the number of vectors.
        :param ivf_probes: How many of the nearest lists a search looks into.
        :param pq_bytes: Bytes per compressed vector; `None`: an eighth of the dimension.
        :raises SettingsError: If a value is not allowed. It is a `ValueError`.
        """
        if folder is not None and not isinstance(folder, (str, Path)):
            raise SettingsError(f"folder must be a path or None, got {folder!r}")
        self.folder = None if folder is None else str(folder)
        self.embedding_dim = embedding_dim
        self.kind = kind
        self.encoder = _identity_from(encoder) if isinstance(encoder, dict) else encoder
        self.return_embedding = return_embedding
        self.read_only = read_only
        self.memory_map = memory_map
        self.verify = verify
        self.save_on_write = save_on_write
        self.device = device
        self.hnsw_neighbours = hnsw_neighbours
        self.hnsw_build_width = hnsw_build_width
        self.hnsw_search_width = hnsw_search_width
        self.ivf_lists = ivf_lists
        self.ivf_probes = ivf_probes
        self.pq_bytes = pq_bytes
        self._opened: OpenFolder | None = None
        self._opening = threading.Lock()
        self._check()

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Self:  # noqa: ANN401 -- those of the constructor, which checks them
        """Make the store of a saved folder: its dimension, its kind and its encoder are read from there.

        :param options: Further parameters of the constructor, such as `read_only=True`.
        :raises IndexFolderError: If there is no index in the folder, or its manifest cannot be read.
        """
        saved = Manifest.read(Path(folder)).settings
        found = {name: getattr(saved, name) for name in IndexSettings.__slots__ if name != "dimension"}
        return cls(folder, **{"embedding_dim": saved.dimension, **found, **options})

    def index_settings(self) -> IndexSettings:
        """Give how the index finds vectors, in the words of the core."""
        names = [name for name in IndexSettings.__slots__ if name != "dimension"]
        return IndexSettings(dimension=self.embedding_dim, **{name: getattr(self, name) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """Give the class and its parameters as plain values; a folder by its name, and never documents."""
        names = [name for name in inspect.signature(StoreParameters.__init__).parameters if name != "self"]
        values = {name: getattr(self, name) for name in names}
        values["encoder"] = None if self.encoder is None else self.encoder.to_dict()
        return default_to_dict(self, **values)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a store from what `to_dict` gave."""
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        """Open the index unless it is open.

        :raises IndexFolderError: If there is none to read, it is damaged, or another one than the one described.
        :raises IndexLockedError: If another process has it open for writing, and `read_only` is false.
        """
        self._place()

    def check_encoder(self, expected: EncoderIdentity) -> None:
        """Refuse an encoder that did not make the embeddings; an index that names none only tells the dimension.

        :raises IndexFolderError: If it is another.
        """
        self._index.settings.check_encoder(expected, self.folder or "the index in memory")

    def close(self) -> None:
        """Give up files, memory and the right to write; what was not saved is lost, with a warning.

        The next use opens the folder again. Stores of the same folder in one process share what is open; it is given up
        by the last of them. A store in memory stays as it is: pipelines close their stores, and it has no folder to be
        read from again.
        """
        if self.folder is None:
            return
        with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.leave(self)

    @property
    def _index(self) -> DenseIndex:
        return self._place().index

    @property
    def _one_change(self) -> threading.RLock:
        return self._place().one_change

    def _place(self) -> OpenFolder:
        with self._opening:
            if self._opened is None:
                shared = None if self.folder is None or self.read_only else Path(self.folder)
                opened = OpenFolder.join(self, shared, self._open)
                try:
                    self._check_settings(opened.index)
                except BaseException:
                    opened.leave(self)
                    raise
                self._opened = opened
            return self._opened

    def _open(self) -> DenseIndex:
        settings = self.index_settings()
        is_new = self.folder is None or not (self.read_only or (Path(self.folder) / MANIFEST_NAME).exists())
        if self.folder is None or is_new:
            return DenseIndex.create(self.folder, settings=settings, device=self.device)
        return DenseIndex.open(
            self.folder,
            expected=self.encoder,
            read_only=self.read_only,
            memory_map=self.memory_map,
            verify=self.verify,
            device=self.device,
        )

    def _check_settings(self, index: DenseIndex) -> None:
        """Refuse an open index that is another one than the one described."""
        found, wanted = asdict(index.settings), asdict(self.index_settings())
        differing = [name for name in wanted if name != "encoder" and found[name] != wanted[name]]
        if self.encoder is not None:
            index.settings.check_encoder(self.encoder, str(self.folder))
        if differing:
            told = ", ".join(f"{name} {found[name]!r}, not {wanted[name]!r}" for name in differing)
            raise IndexFolderError(
                f"{self.folder} holds another index than the one described: {told}. "
                "Use FaissDocumentStore.load to take what is there, or another folder"
            )

    def _check(self) -> None:
        for name in ("return_embedding", "read_only", "memory_map", "verify", "save_on_write"):
            check_flag(name, getattr(self, name))
        if self.encoder is not None and not isinstance(self.encoder, EncoderIdentity):
            raise SettingsError(f"encoder must be an EncoderIdentity or None, got {type(self.encoder).__name__}")
        check_device(self.device)
        self.index_settings()
        if self.read_only and self.folder is None:
            raise SettingsError("read_only=True needs a folder: in memory there is nothing to read yet")
        if self.save_on_write and self.folder is None:
            raise SettingsError("save_on_write=True needs a folder: there is nowhere to save to")
        if self.memory_map and not self.read_only:
            raise SettingsError("memory_map=True needs read_only=True: vectors on disk cannot be added to")

    def __deepcopy__(self, memo: object) -> Self:
        # Frameworks copy what they pass on; a store is a place, and a second one would hold the same folder.
        return self


def _identity_from(fields: dict[str, Any]) -> EncoderIdentity:
    try:
        return EncoderIdentity(**fields)
    except TypeError:
        known = ", ".join(inspect.signature(EncoderIdentity).parameters)
        raise SettingsError(
            f"encoder must be an EncoderIdentity or a dictionary with its fields ({known}; model, max_length and "
            f"dimension are needed), got the fields {', '.join(map(str, fields)) or 'of an empty one'}"
        ) from None
