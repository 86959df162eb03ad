"""The text of a file's syntax, which hashes are made of, is that of every version of Python."""

import ast

from cab.records.code import syntax_of

CODE = "def f(x): pass\nclass A: pass"


def test_the_syntax_of_a_file_reads_as_in_python_3_11() -> None:
    # Python 3.12 would add type_params=[], and Python 3.13 leave empty lists out.
    assert syntax_of(ast.parse(CODE)) == (
        "Module(body=[FunctionDef(name='f', args=arguments(posonlyargs=[], args=[arg(arg='x')], "
        "kwonlyargs=[], kw_defaults=[], defaults=[]), body=[Pass()], decorator_list=[]), "
        "ClassDef(name='A', bases=[], keywords=[], body=[Pass()], decorator_list=[])], "
        "type_ignores=[])"
    )
