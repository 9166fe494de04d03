"""An incident log: whatever can be read is read, whatever cannot is named, and nothing is dropped."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import incidents

BEGINS, ENDS = date(2025, 2, 3), date(2025, 5, 4)
HEAD = "date,severity\n"


def write(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def read(path, begins=BEGINS, ends=ENDS, today=date(2025, 6, 1)):
    return incidents.read(path, begins, ends, today)


def refused(path, **more):
    with pytest.raises(incidents.InvalidLog) as caught:
        read(path, **more)
    for fault in caught.value.faults:
        assert "\n" not in fault and "found" in fault or "expected" in fault
    return [
        fault.replace(f"{path}, ", "").replace(f"{path}: ", "") for fault in caught.value.faults
    ]


def test_the_invented_log_says_in_every_line_that_it_is_invented():
    lines = incidents.BUNDLED["invented"].read_text("utf-8").splitlines()[1:]
    log = incidents.read("invented", BEGINS, ENDS)
    assert log.days == 91
    assert len(log.incidents) == len(lines) > 5
    assert all("(invented)" in line for line in lines)


def test_severities_count_from_the_least_one_on(tmp_path):
    log = read(write(tmp_path, HEAD + "2025-02-03,minor\n2025-05-04,critical\n2025-02-12,major\n"))
    assert log.found_days("minor") == [1, 10, 91]
    assert log.found_days("major") == [10, 91]
    assert log.found_days("critical") == [91]


@pytest.mark.parametrize(
    "text",
    [
        'date,severity,what\n2025-02-11,major,"a, b"\n2025-02-12,minor,\n',
        "\ufeffdate,severity,what\r\n2025-02-11,major,x\r\n2025-02-12,minor,y\r\n",
        "what;severity;date\nx;major;2025-02-11\n\ny;Minor; 2025-02-12\n",
        "Date\tSeverity\n2025-02-11\tMAJOR\n2025-02-12\tminor",
        '\n"date","severity"\n"2025-02-11","major"\n"2025-02-12","minor"\n',
        'date,severity,what\n2025-02-11,major,"two\nlines"\n2025-02-12,minor,x\n',
        "date;severity;what, why\n2025-02-11;major;x, y\n2025-02-12;minor;z\n",
    ],
    ids=["commas", "bom", "semicolons", "tabs", "quotes", "lines in a value", "commas inside"],
)
def test_the_same_log_in_many_forms(tmp_path, text):
    found = read(write(tmp_path, text)).incidents
    assert [(one.day, one.severity) for one in found] == [
        (date(2025, 2, 11), "major"),
        (date(2025, 2, 12), "minor"),
    ]


def test_a_line_is_where_an_editor_shows_it(tmp_path):
    text = 'date,severity,what\n2025-02-11,major,"two\nlines"\n\n2025-02-12,minr,x\n'
    assert refused(write(tmp_path, text)) == [
        "line 5: severity: 'minr' was found; expected one of minor, major, critical; "
        "did you mean 'minor'?"
    ]


def test_names_of_columns_alone_are_a_clean_soak(tmp_path):
    log = read(write(tmp_path, HEAD))
    assert log.incidents == () and log.found_days("minor") == []


def test_every_bad_line_is_named_and_a_good_one_does_not_hide_it(tmp_path):
    text = HEAD + (
        "2025-02-11,major\n"  # 2, good
        "2025-02-30,major\n"  # 3
        "11/02/2025,minor\n"  # 4
        "2025-01-31,minor\n"  # 5
        "2025-05-05,minor\n"  # 6
        "2025-07-01,minor\n"  # 7
        ",major\n"  # 8
        "2025-02-11,\n"  # 9
        "2025-02-11,sev1\n"  # 10
        "2025-02-11,major,more\n"  # 11
        "2025-02-11\n"  # 12
        "yesterday,bad\n"  # 13, two faults
        "2025-02-12 10:30,major\n"  # 14
    )
    within = (
        "expected a day from 2025-02-03 to 2025-05-04; leave out what does not belong to the soak"
    )
    severities = "expected one of minor, major, critical"
    quotes = "expected 2, one for each column; put a text that holds the separator in quotes"
    form = "expected a day as YYYY-MM-DD"
    assert refused(write(tmp_path, text)) == [
        "line 3: date: '2025-02-30' was found; expected a day that exists, as YYYY-MM-DD",
        f"line 4: date: '11/02/2025' was found; {form}",
        f"line 5: date: 2025-01-31 was found, which is before the soak began; {within}",
        f"line 6: date: 2025-05-05 was found, which is after the soak ended; {within}",
        f"line 7: date: 2025-07-01 was found, which is in the future; {within}",
        f"line 8: date: '' was found; {form}",
        f"line 9: severity: '' was found; {severities}",
        f"line 10: severity: 'sev1' was found; {severities}",
        f"line 11: 3 values were found; {quotes}",
        f"line 12: 1 values were found; {quotes}",
        f"line 13: date: 'yesterday' was found; {form}",
        f"line 13: severity: 'bad' was found; {severities}",
        f"line 14: date: '2025-02-12 10:30' was found; {form}",
    ]


def test_of_very_many_faults_the_first_are_said_and_the_rest_counted(tmp_path):
    path = write(tmp_path, HEAD + "never,major\n" * 1000)
    with pytest.raises(incidents.InvalidLog) as caught:
        read(path)
    assert len(caught.value.faults) == 1000
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "log: 980 more faults; put these right first"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "",
            "the file is empty; expected a first line with the columns date and severity; "
            "if nothing came to light, that line alone",
        ),
        ("\ufeff \n\n", "the file is empty; expected a first line"),
        ("day,severity\n", "line 1: the columns 'day', 'severity' were found; expected 'date'"),
        ("date,severty\n", "and commas, semicolons or tabs between them; rename 'severty'"),
        ("date,severity,date\n", "expected 'date' among them, once, and"),
        ("date|severity\n", "line 1: the columns 'date|severity' were found; expected 'date'"),
        ("2025-02-11,major\n", "line 1: the columns '2025-02-11', 'major' were found"),
        (HEAD.encode("utf-16"), "byte 0 is not UTF-8; expected a CSV file in UTF-8; save it as"),
        (HEAD + '2025-02-11,major\n2025-02-12,"major\n2025-02-13,major\n',
         "line 3: unexpected end of data was found; expected CSV; close the quotes"),
        (HEAD + '2025-02-11,"major" x\n', "line 2: ',' expected after '\"' was found"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_log(tmp_path, text, said):
    (fault,) = refused(write(tmp_path, text))
    assert said in fault


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    assert refused(tmp_path / "nothing.csv") == [
        "no such file; expected a CSV file, or the name of a bundled log; expected one of invented"
    ]
    assert refused(tmp_path) == ["this is a directory; expected a CSV file in UTF-8"]
    assert "did you mean 'invented'?" in refused("invnted")[0]
    assert "'\\x00': cannot be read: embedded null byte" in refused("\0")[0]
    monkeypatch.setattr(incidents, "MAX_BYTES", 10)
    assert refused(write(tmp_path, HEAD)) == ["more than 10 bytes; expected a smaller file"]


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        ("2025-05-05", "2025-05-04", "from: 2025-05-05 was found; expected at most the last day"),
        ("2025-02-03", "2025-06-02", "to: 2025-06-02 was found, which is in the future; expected"),
        ("3 Feb", "2025-05-04", "from: '3 Feb' was found; expected a day as YYYY-MM-DD"),
        ("2025-02-03", "2025-04-31", "to: '2025-04-31' was found; expected a day that exists"),
        ("", "2025-05-04", "from: '' was found; expected a day as YYYY-MM-DD"),
    ],
)
def test_a_soak_that_cannot_be(tmp_path, begins, ends, said):
    (fault,) = refused(write(tmp_path, HEAD), begins=begins, ends=ends)
    assert said in fault


def test_without_an_end_the_soak_ends_today(tmp_path):
    path = write(tmp_path, HEAD + "2025-06-01,major\n")
    assert read(path, ends="").ends == date(2025, 6, 1)
    assert incidents.read(write(tmp_path, HEAD), "2025-02-03").ends == date.today()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_in_full_or_refused(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("any") / "log.csv"
    path.write_bytes(b"date,severity\n" + raw)
    try:
        log = read(path)
    except incidents.InvalidLog:
        return
    assert log.incidents == ()  # hardly ever a valid line: then nothing but empty lines was there
    assert not raw.strip(b"\r\n")
