"""Index documents of your own, PDF, HTML, Markdown or text, and ask them a question.

pip install -c constraints.txt '.[haystack,faiss]' pypdf trafilatura
python examples/vos_documents.py FOLDER INDEX "Votre question"

Without arguments it reads examples/documents into a temporary folder. Runs offline. Passages end where a sentence does,
by this package's own rules for French: Haystack's sentence splitter would download those of NLTK. The index can be
searched from the command line too: fr-reranker search INDEX "Votre question"
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from haystack import Document, Pipeline
from haystack.components.converters import HTMLToDocument, PyPDFToDocument, TextFileToDocument
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.routers import FileTypeRouter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy

from fr_reranker_plugin.haystack import (
    FaissDocumentStore,
    FrenchCrossEncoderRanker,
    FrenchDocumentEmbedder,
    FrenchRetrieveAndRerank,
)
from fr_reranker_plugin.retrieval.text_splitting import split_passages

DOCUMENTS = Path(__file__).parent / "documents"
QUESTION = "Que faire d'un vieux canapé ?"
CONVERTERS = {
    "application/pdf": PyPDFToDocument(store_full_path=True),
    "text/html": HTMLToDocument(extraction_kwargs={"output_format": "markdown"}, store_full_path=True),  # with headings
    "text/markdown": TextFileToDocument(store_full_path=True),  # the splitter reads its headings
    "text/plain": TextFileToDocument(store_full_path=True),
}


def french_passages(text: str) -> list[str]:
    """Whole sentences, 80 words at most, each passage under its headings."""
    return list(split_passages(text, words=80))


def index_files(files: list[Path], embedder: FrenchDocumentEmbedder, store: FaissDocumentStore) -> int:
    """Convert, split, embed and write files; give the number of passages. A file that is read again is replaced."""
    sources = [file.resolve() for file in files]
    pipeline = Pipeline()
    pipeline.add_component("router", FileTypeRouter(list(CONVERTERS), additional_mimetypes={"text/markdown": ".md"}))
    pipeline.add_component("joiner", DocumentJoiner())
    for kind, converter in CONVERTERS.items():
        pipeline.add_component(kind, converter)
        pipeline.connect(f"router.{kind}", f"{kind}.sources")
        pipeline.connect(f"{kind}.documents", "joiner.documents")
    pipeline.add_component("splitter", DocumentSplitter(split_by="function", splitting_function=french_passages))
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    pipeline.connect("joiner", "splitter")
    pipeline.connect("splitter", "embedder")
    pipeline.connect("embedder", "writer")
    # the ids of passages depend on the whole file, so those of one that was edited replace none
    store.delete_by_filter({"field": "meta.file_path", "operator": "in", "value": [str(file) for file in sources]})
    written: int = pipeline.run({"router": {"sources": sources}})["writer"]["documents_written"]
    return written


def answer(question: str, store: FaissDocumentStore) -> list[Document]:
    ranker = FrenchCrossEncoderRanker(model="embedded", first_stage_weight=0.5)
    search = FrenchRetrieveAndRerank(document_store=store, ranker=ranker, retriever_top_k=20)
    documents: list[Document] = search.run(query=question, top_k=3)["documents"]
    search.close()
    return documents


def main(documents: Path, index: Path, question: str) -> None:
    embedder = FrenchDocumentEmbedder()
    embedder.warm_up()
    store = FaissDocumentStore(index, encoder=embedder.identity)  # so that a search knows which model to embed with
    files = sorted(path for path in documents.rglob("*") if path.is_file())
    print(f"{index_files(files, embedder, store)} passages from {len(files)} files")
    store.save()
    print(question)
    for document in answer(question, store):
        print(f"{document.score:.3f}  {Path(document.meta['file_path']).name}: {document.content}")
    store.close()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        given = sys.argv[1:]
        defaults = [str(DOCUMENTS), str(Path(folder) / "index"), QUESTION]
        source_folder, index_folder, asked = given + defaults[len(given) :]
        main(Path(source_folder), Path(index_folder), asked)
