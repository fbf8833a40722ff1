"""What a refused command line may say: one message."""


def refused(capsys, message: str) -> None:
    """One message on stderr holds the text; nothing else was printed."""
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    # A long path is broken over the lines of the parser's box.
    flat = lambda text: "".join(text.replace("│", " ").split())
    assert flat(message) in flat(err)
    if "For full helptext" in err:
        assert err.count("For full helptext") == 1
    else:
        assert err.startswith("error: ")
        assert err.count("\n") == 1
