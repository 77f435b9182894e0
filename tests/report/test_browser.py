"""The record of a page's errors and requests can fail: without that the other tests would prove nothing."""


def test_an_error_in_a_script_is_seen(chromium, tmp_path):
    chromium.open("<script>nothing.at.all()</script>", tmp_path)
    assert any("nothing is not defined" in line for line in chromium.complaints())
    assert not chromium.requests()


def test_a_request_is_seen(chromium, tmp_path):
    (tmp_path / "other.css").write_text("p { color: red }")
    chromium.open('<link rel="stylesheet" href="other.css"><p>text', tmp_path)
    assert [url.rsplit("/", 1)[-1] for url in chromium.requests()] == ["other.css"]
    chromium.complaints()


def test_a_blank_element_has_no_picture(chromium, tmp_path):
    chromium.open('<div id="blank" style="width: 90px; height: 40px"></div>', tmp_path)
    assert chromium.pixels("#blank").std() == 0
    chromium.complaints()
