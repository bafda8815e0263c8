"""Asks a service through clients of other makers, unchanged. Runs in an environment of its own, without fspo_jax.

    python unmodified_clients.py PORT TOKEN QUERY DOCUMENT ...

Prints a JSON object: for each client the documents' places from best to worst, as the client returned them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence

os.environ |= {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "DO_NOT_TRACK": "1",
}

_, PORT, TOKEN, QUERY, *DOCUMENTS = sys.argv
HOST = f"http://127.0.0.1:{PORT}"
MODEL = "tiny:ana"


def cohere_v2() -> Sequence[int]:
    import cohere

    client = cohere.ClientV2(TOKEN, base_url=HOST)
    return [one.index for one in client.rerank(model=MODEL, query=QUERY, documents=DOCUMENTS).results]


def cohere_v1() -> Sequence[int]:
    import cohere

    client = cohere.Client(TOKEN, base_url=f"{HOST}/users/ana")
    return [one.index for one in client.rerank(model="tiny", query=QUERY, documents=DOCUMENTS).results]


def langchain_reranker() -> Sequence[int]:
    from langchain_core.documents import Document
    from langchain_reranker.rerankers import init_reranker

    ranker = init_reranker(f"custom:{MODEL}", base_url=f"{HOST}/v1", api_key=TOKEN)
    found = ranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    return [DOCUMENTS.index(one.page_content) for one in found]


def langchain_cohere() -> Sequence[int]:
    import cohere
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    ranker = CohereRerank(client=cohere.ClientV2(TOKEN, base_url=HOST), model=MODEL, top_n=len(DOCUMENTS))
    found = ranker.compress_documents([Document(page_content=text) for text in DOCUMENTS], QUERY)
    return [DOCUMENTS.index(one.page_content) for one in found]


def llama_index_tei() -> Sequence[int]:
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    ranker = TextEmbeddingInference(
        base_url=f"{HOST}/users/ana", auth_token=f"Bearer {TOKEN}", top_n=len(DOCUMENTS)
    )
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in DOCUMENTS]
    found = ranker.postprocess_nodes(nodes, query_bundle=QueryBundle(QUERY))
    return [DOCUMENTS.index(one.node.get_content()) for one in found]


def haystack_tei() -> Sequence[int]:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    # It joins /rerank to the root of its address, so the token of the user says whose taste is wanted.
    ranker = HuggingFaceTEIRanker(
        url=HOST, token=Secret.from_token("token-of-ana-0000"), top_k=len(DOCUMENTS)
    )
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in DOCUMENTS])["documents"]
    return [DOCUMENTS.index(one.content) for one in found]


def haystack_vllm() -> Sequence[int]:
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    ranker = VLLMRanker(
        model=MODEL, api_base_url=f"{HOST}/v1", api_key=Secret.from_token(TOKEN), top_k=len(DOCUMENTS)
    )
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in DOCUMENTS])["documents"]
    return [DOCUMENTS.index(one.content) for one in found]


def litellm(model: str, path: str) -> Sequence[int]:
    import litellm

    found = litellm.rerank(
        model=f"{model}/{MODEL}", query=QUERY, documents=DOCUMENTS, api_base=HOST + path, api_key=TOKEN
    )
    return [one["index"] for one in found.results]


def openai_decisions() -> Sequence[int]:
    import openai

    client = openai.OpenAI(api_key=TOKEN, base_url=f"{HOST}/v1")
    choices = [{"value": str(i), "description": text} for i, text in enumerate(DOCUMENTS)]
    question = {
        "type": "choice",
        "name": "best",
        "instructions": "Which does this person prefer?",
        "choices": choices,
    }
    (answer,) = client.decisions.create(model=MODEL, input=QUERY, questions=[question]).answers
    ordered = sorted(answer.probabilities, key=lambda one: -one.probability)
    assert ordered[0].value == answer.choice
    return [int(one.value) for one in ordered]


CLIENTS: dict[str, Callable[[], Sequence[int]]] = {
    "cohere v2": cohere_v2,
    "cohere v1": cohere_v1,
    "langchain-reranker": langchain_reranker,
    "langchain-cohere": langchain_cohere,
    "llama-index TEI": llama_index_tei,
    "haystack TEI": haystack_tei,
    "haystack vLLM": haystack_vllm,
    "litellm hosted_vllm": lambda: litellm("hosted_vllm", "/v1"),
    "litellm huggingface": lambda: litellm("huggingface", "/users/ana"),
    "litellm cohere": lambda: litellm("cohere", "/v2/rerank"),
    "litellm jina_ai": lambda: litellm("jina_ai", "/v1/rerank"),
    "openai decisions": openai_decisions,
}


def asked(ask: Callable[[], Sequence[int]]) -> list[int] | str:
    try:
        return list(ask())
    except Exception as error:  # the test shows what each client said
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    asyncio.set_event_loop(asyncio.new_event_loop())  # LlamaIndex asks for one
    print(json.dumps({name: asked(ask) for name, ask in CLIENTS.items()}))
