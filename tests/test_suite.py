"""The suite itself."""


def test_no_test_module_computes_while_it_is_imported(kernels_called_at_import):
    """Each worker imports all of them, whichever tests it gets: what is computed there is computed by every one."""
    assert not kernels_called_at_import
