"""Names the architectures that Millpond comes with."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, ConverterSpec
from millpond_models.converter_catalogue import converters
from millpond_models.decoder_catalogue import decoders, rewards
from millpond_models.encoder_catalogue import encoders
from millpond_models.nemotron_catalogue import nemotron_vl
from millpond_models.phi_catalogue import phi_vision
from millpond_models.published import published
from millpond_models.retrieval_catalogue import retrievers
from millpond_models.tower_catalogue import two_towers


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """Encoders of BERT's form, decoders of Llama's, and those of either with classifiers and rewards of their own."""
    for spec in chain(encoders(), decoders(), rewards(), retrievers(), two_towers(), nemotron_vl(), phi_vision()):
        yield replace(spec, published=spec.published or published(spec.name))


@hookimpl
def register_converters() -> Iterator[ConverterSpec]:
    """To embedding models, to classifiers, to process-reward models, to sparse encoders."""
    yield from converters()
