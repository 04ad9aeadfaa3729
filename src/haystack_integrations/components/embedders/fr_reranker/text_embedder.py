"""The embedder of questions."""

from pathlib import Path

from haystack import component
from haystack.utils import ComponentDevice, Secret

from fr_reranker_plugin.scoring.settings import EMBEDDED, DType
from haystack_integrations.components.embedders.fr_reranker.parameters import EncoderParameters
from haystack_integrations.components.rankers.fr_reranker.checks import check_text


@component
class FrenchTextEmbedder(EncoderParameters):
    """Turns a question into a unit vector, after the prefix that its model expects before questions.

    ```python
    from haystack_integrations.components.embedders.fr_reranker import FrenchTextEmbedder

    embedding = FrenchTextEmbedder().run("Où demander un acte de naissance ?")["embedding"]
    ```
    """

    def __init__(  # noqa: PLR0913 -- flat as YAML needs it
        self,
        *,
        model: str | Path = EMBEDDED,
        revision: str | None = None,
        device: ComponentDevice | str | list[str] | None = None,
        token: Secret | None = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False),  # noqa: B008 -- frozen
        dtype: DType = "auto",
        max_length: int | None = None,
        query_prefix: str | None = None,
        passage_prefix: str | None = None,
        local_files_only: bool = False,
        cache_folder: str | None = None,
    ) -> None:
        """Note and check the parameters; nothing is read or loaded. Give both embedders the same ones.

        :param model: A Hub id, a local folder, or `"embedded"` for the small bi-encoder inside this package.
        :param revision: Commit, tag or branch on the Hub; `None`: `main`.
        :param device: Where the model runs. `None`: the first GPU if there is one, else the CPU.
            A list: a copy of the model on each, behind one queue.
        :param token: Hub token for a private model; read when the model is loaded, never shown or saved.
        :param dtype: Arithmetic of the model. `"auto"`: float16 on CUDA, float32 elsewhere.
        :param max_length: Longest text in tokens, prefix included. `None`: what the model was made for.
        :param query_prefix: Stands before each question. `None`: what the model was trained with, such as `"query: "`.
        :param passage_prefix: Stands before each passage. `None`: the same, such as `"passage: "`.
        :param local_files_only: Never ask the Hub; use the local cache.
        :param cache_folder: The Hub cache to use instead of the default one.
        :raises SettingsError: If a value is not allowed. It is a `ValueError`.
        :raises TypeError: If `token` is not a `Secret`.
        """
        EncoderParameters.__init__(
            self,
            model=model,
            revision=revision,
            device=device,
            token=token,
            dtype=dtype,
            max_length=max_length,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            local_files_only=local_files_only,
            cache_folder=cache_folder,
        )

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """Embed a question.

        :param text: The question, without a prefix.
        :returns: A dictionary with the key `embedding`: a vector of the length 1.
        :raises SettingsError: If `text` is not a string.
        """
        check_text("text", text)
        return {"embedding": self._encoder.encode_queries([text])[0].tolist()}

    @component.output_types(embedding=list[float])
    async def run_async(self, text: str) -> dict[str, list[float]]:
        """Embed a question without blocking the event loop; like `run` otherwise."""
        check_text("text", text)
        return {"embedding": (await self._encoder.aencode_queries([text]))[0].tolist()}
