import pytest

from usfmae.base.errors import DatasetError
from usfmae.datasets.tables import read_table, read_text


@pytest.mark.parametrize(
    "content",
    [
        b"path,label\na.png,benign\nb.png,malignant\n",
        b"\xef\xbb\xbfpath;label\r\na.png;benign\r\n\r\nb.png;malignant\r\n",  # as a German Excel writes it
        b" path \tlabel\na.png\t benign\nb.png\tmalignant",
        b'path,label\n"a.png",benign\n,\nb.png,"malignant"\n',
    ],
)
def test_commas_semicolons_tabs_and_byte_order_marks_give_the_same_rows(tmp_path, content):
    (tmp_path / "labels.csv").write_bytes(content)
    rows = read_table(tmp_path / "labels.csv", required=["path", "label"])
    assert rows == [{"path": "a.png", "label": "benign"}, {"path": "b.png", "label": "malignant"}]


def test_a_quoted_comma_stays_in_its_cell(tmp_path):
    (tmp_path / "t.csv").write_text('ID,BBOX\n1,"[66,17,75,57]"\n')
    assert read_table(tmp_path / "t.csv", required=["BBOX"]) == [{"ID": "1", "BBOX": "[66,17,75,57]"}]


def test_cells_missing_at_the_end_are_empty(tmp_path):
    (tmp_path / "t.csv").write_text("path,label,patient\na.png,benign\n")
    assert read_table(tmp_path / "t.csv", required=["path"])[0]["patient"] == ""


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"path,lable\na,b\n", r"labels\.csv: has no column 'label' \(its columns: path, lable\)", "'lable'"),
        (b"path,Label\na,b\n", "has no column 'label'", "rename column 'Label' to 'label'"),
        (b"a.png,b\nc.png,d\n", "has no column 'path', 'label'", "add a column 'path'"),
        (b"path,label\n", "has a header but no row", "one row per image"),
        (b"", "is empty", "UTF-8"),
        (b"\n \n", "is empty", "UTF-8"),
        (
            "path,label\na,Zyste f\xfcr\n".encode("latin-1"),
            r"is not UTF-8 text \(byte 20\)",
            "encoding UTF-8",
        ),
        ("path,label\na,b\n".encode("utf-16"), "is not UTF-8 text", "encoding UTF-8"),
        ("path,label\na,b\n".encode("utf-16-le"), "is not UTF-8 text", "encoding UTF-8"),
        (b"path,label\na,b,c\n", "line 2 has 3 cells under 2 columns", "quotes"),
        (b"path,label,label\na,b,c\n", r"1 column\(s\) twice \(first: 'label'\)", ""),
        (b'path,label\n"a"x,b\n', "is no csv table", "export it again"),
    ],
)
def test_a_bad_table_says_what_and_what_next(tmp_path, content, message, hint):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message) as error:
        read_table(tmp_path / "labels.csv", required=["path", "label"])
    assert hint in error.value.hint


def test_a_missing_table_names_its_like(tmp_path):
    (tmp_path / "bus_date.csv").write_text("x")
    with pytest.raises(DatasetError, match=r"bus_data\.csv: no such file") as error:
        read_text(tmp_path / "bus_data.csv")
    assert error.value.hint == "did you mean bus_date.csv?"


def test_a_folder_in_place_of_a_table_is_named(tmp_path):
    (tmp_path / "labels.csv").mkdir()
    with pytest.raises(DatasetError, match=r"labels\.csv: cannot be read"):
        read_text(tmp_path / "labels.csv")
