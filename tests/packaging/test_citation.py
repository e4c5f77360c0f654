from __future__ import annotations

import datetime
import re

import pytest
import yaml
from built_distribution import ROOT

from femur_nnunet._version import __version__

# The keys of Citation File Format 1.2.0 that this file uses, and those that the format requires.
KNOWN = {"cff-version", "message", "title", "type", "version", "date-released", "license", "authors", "keywords",
         "references", "abstract", "repository-code", "url", "doi", "identifiers"}
REQUIRED = {"cff-version", "message", "title", "authors"}
REFERENCE_REQUIRED = {"type", "title", "authors"}


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def names_somebody(author):
    return bool(author.get("name") or (author.get("family-names") and author.get("given-names")))


def test_the_citation_has_the_form_of_cff_1_2(citation):
    assert citation["cff-version"] == "1.2.0"
    assert citation.keys() <= KNOWN
    assert citation.keys() >= REQUIRED
    assert citation["type"] == "software"
    assert citation["license"] == "Apache-2.0"
    assert isinstance(citation["date-released"], datetime.date)
    assert all(names_somebody(author) for author in citation["authors"])


def test_the_citation_names_the_version_of_the_package(citation):
    assert str(citation["version"]) == __version__


def test_every_cited_paper_can_be_found(citation):
    for reference in citation["references"]:
        assert reference.keys() >= REFERENCE_REQUIRED
        assert all(names_somebody(author) for author in reference["authors"])
        assert re.match(r"10\.\d{4,9}/", reference.get("doi", "")) or "arXiv" in reference.get("notes", "")
