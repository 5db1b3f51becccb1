from __future__ import annotations

import pytest

from agentkit.schema import describe

GOOGLE = """Convert money.

    At today's rate,
    both ways.

    Args:
        amount: How much,
            in the source currency.
        target (str, optional): ISO 4217
            code.
        *rest: More: and more.
        **options: Odd ones.

    Returns:
        float: The amount.

    Raises:
        KeyError: No such currency.
    """
NUMPY = """Convert money.

    At today's rate,
    both ways.

    Parameters
    ----------
    amount : float
        How much,
        in the source currency.
    target : str, optional
        ISO 4217
        code.
    *rest
        More: and more.
    **options
        Odd ones.

    Returns
    -------
    float
        The amount.

    Notes
    -----
    Nothing.
    """
REST = """Convert money.

    At today's rate,
    both ways.

    :param float amount: How much,
        in the source currency.
    :param target: ISO 4217
        code.
    :type target: str
    :param rest: More: and more.
    :param options: Odd ones.
    :returns: The amount.
    :raises KeyError: No such currency.
    """
EPYDOC = """Convert money.

    At today's rate,
    both ways.

    @param amount: How much,
        in the source currency.
    @type amount: float
    @param target: ISO 4217
        code.
    @param rest: More: and more.
    @param options: Odd ones.
    @return: The amount.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST, EPYDOC], ids=["google", "numpy", "rest", "epydoc"])
def test_styles(docstring):
    def convert(amount: float, target: str, *rest: str, **options: int): ...

    convert.__doc__ = docstring
    described = describe(convert)
    assert described.description == "Convert money.\n\nAt today's rate,\nboth ways."
    assert described.parameters == {
        "type": "object",
        "properties": {
            "amount": {"type": "number", "description": "How much,\nin the source currency."},
            "target": {"type": "string", "description": "ISO 4217\ncode."},
            "rest": {"type": "array", "items": {"type": "string"}, "description": "More: and more."},
        },
        "required": ["amount", "target"],
        "additionalProperties": {"type": "integer", "description": "Odd ones."},
    }


@pytest.mark.parametrize(
    ("docstring", "description", "texts"),
    [
        (None, "", {}),
        ("  \n ", "", {}),
        ("One line.", "One line.", {}),
        ("\n    One line.\n\n        Code: no section\n    ", "One line.\n\n    Code: no section", {}),
        ("Only returns.\n\nReturns:\n    The sum.", "Only returns.", {}),
        ("Only returns.\n\nReturns\n-------\nint\n    The sum.", "Only returns.", {}),
        ("Only returns.\n\n:returns: The sum.", "Only returns.", {}),
        ("Only returns.\n\n@return: The sum.", "Only returns.", {}),
        ("No texts.\n\nArgs:\n    a:\n    b: B.", "No texts.", {"b": "B."}),
        ("Escaped.\n\nArgs:\n    \\*a: A.\n    \\*\\*b: B.", "Escaped.", {"a": "A.", "b": "B."}),
        ("Two at once.\n\nParameters\n----------\na, b : int\n    Both.", "Two at once.", {"a": "Both.", "b": "Both."}),
        ("Keywords.\n\nArgs:\n    a: A.\n\nKeyword Args:\n    b: B.", "Keywords.", {"a": "A.", "b": "B."}),
        ("Nothing below.\n\nArgs:\n", "Nothing below.", {}),
        ("Not indented.\n\nArgs:\na: A.", "Not indented.", {}),
        ("Args:\n    a: A.", "", {"a": "A."}),
        ("Two lines\nof one sentence.\n\nArgs:\n    a: A.", "Two lines\nof one sentence.", {"a": "A."}),
        ("Google wins.\n\nArgs:\n    a: A.\n\n:returns: what it says", "Google wins.", {"a": "A."}),
    ],
)
def test_odd_docstrings(docstring, description, texts):
    def tool(a: int = 1, b: int = 2): ...

    tool.__doc__ = docstring
    described = describe(tool)
    assert described.description == description
    properties = described.parameters["properties"]
    assert {name: each["description"] for name, each in properties.items() if "description" in each} == texts


def test_the_given_description_wins():
    def tool(a: int):
        """Own.

        Args:
            a: A.
        """

    described = describe(tool, description="Given.")
    assert described.description == "Given."
    assert described.parameters["properties"]["a"]["description"] == "A."
