"""Reading and starting the generations of a folder."""

from __future__ import annotations

from typing import NamedTuple

from fr_reranker_plugin.errors import IndexFolderError
from fr_reranker_plugin.retrieval.document_database import DocumentDatabase
from fr_reranker_plugin.retrieval.index_contents import IndexContents
from fr_reranker_plugin.retrieval.index_folder import IndexFolder
from fr_reranker_plugin.retrieval.index_manifest import Manifest
from fr_reranker_plugin.retrieval.index_settings import IndexSettings, SearchDevice
from fr_reranker_plugin.retrieval.vector_index import VectorIndex


class Reading(NamedTuple):
    """How generations are read; see `DenseIndex.open`."""

    memory_map: bool = False
    verify: bool = True
    device: SearchDevice = "auto"

    def newest(self, folder: IndexFolder) -> tuple[Manifest, IndexContents]:
        """Read the current generation; begin again if the writer replaces it meanwhile.

        :raises IndexFolderError: If there is none, or it is damaged.
        """
        manifest = folder.manifest()
        while True:
            try:
                return manifest, self._generation(folder, manifest)
            except (IndexFolderError, FileNotFoundError):
                newer = folder.manifest()
                if newer == manifest:
                    raise
                manifest = newer

    def _generation(self, folder: IndexFolder, manifest: Manifest) -> IndexContents:
        folder.check_files(manifest, contents=self.verify)
        vectors = VectorIndex.read(
            folder.path / manifest.vectors_file.name, manifest.settings, memory_map=self.memory_map, device=self.device
        )
        database = DocumentDatabase.open(folder.path / manifest.documents_file.name, immutable=True)
        try:
            found = database.count(), vectors.total
            if found != (manifest.documents, manifest.vectors):
                raise IndexFolderError(
                    f"{folder.path} is damaged: expected {manifest.documents} documents and {manifest.vectors} "
                    f"vectors, found {found[0]} and {found[1]}"
                )
            return IndexContents(vectors, database)
        except BaseException:
            database.close()
            raise


def write_generation(folder: IndexFolder, number: int, settings: IndexSettings, contents: IndexContents) -> Manifest:
    """Save contents as the generation `number`; the caller is the folder's writer."""
    return folder.save(
        generation=number,
        settings=settings,
        counts=(contents.database.count(), contents.vectors.total),
        write_vectors=contents.vectors.write,
        write_documents=contents.database.copy_to,
    )


def start_generations(folder: IndexFolder, settings: IndexSettings) -> Manifest:
    """Save an empty index, so that from now on a folder without a manifest is a damaged one.

    :raises IndexFolderError: If the folder holds documents, or what is left of an index without a manifest.
    """
    number = 0
    if folder.holds_index():
        manifest = folder.manifest()
        if manifest.documents:
            raise IndexFolderError(
                f"{folder.path} holds an index of {manifest.documents} documents; open it, or choose another folder"
            )
        number = manifest.generation + 1
    elif folder.holds_remains():
        raise IndexFolderError(
            f"{folder.path} holds files of an index but no manifest; restore it from a copy, or choose another folder"
        )
    contents = IndexContents(VectorIndex.empty(settings, device="cpu"), DocumentDatabase.create(None))
    try:
        return write_generation(folder, number, settings, contents)
    finally:
        contents.close()
