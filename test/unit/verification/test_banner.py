"""What is read off a serial console."""

from __future__ import annotations

from exasol_like_dss.lib.verification.banner import at_login, before_login, change_command, jupyter_url, plain

BANNER = (
    "[   12.1] systemd[1]: Reached target multi-user.target\r\n"
    "\x1b[0;32m  OK  \x1b[0m\r\n"
    "  JupyterLab:  http://10.0.2.15:8888/lab?token=0a1b2c\r\n"
    "  This secret was made at the first boot. Your own password:  sudo dss-jupyter-password\r\n"
    "\r\n"
    "sandbox login: "
)


def test_terminal_control_is_taken_out() -> None:
    assert plain("\x1b[1;31mred\x1b[0m\x1b]0;title\x07\x1b[?2004h!\r\n") == "red!\n"


def test_the_login_prompt_is_seen_at_the_start_of_a_line_only() -> None:
    assert at_login(BANNER)
    assert not at_login("systemd[1]: Started getty - serial login: yes\n")
    assert not at_login("")


def test_the_url_and_its_token_are_found() -> None:
    found = jupyter_url(before_login(BANNER))
    assert found is not None
    assert (found.port, found.token) == (8888, "0a1b2c")


def test_the_last_url_counts_and_may_lack_an_address() -> None:
    text = "http://10.0.2.15:8888/lab?token=old\r\nhttp://:8889/lab?token=new\r\n"
    found = jupyter_url(text)
    assert found is not None
    assert (found.port, found.token) == (8889, "new")


def test_a_url_after_the_prompt_is_not_before_it() -> None:
    assert jupyter_url(before_login("sandbox login: \r\nhttp://x:1/lab?token=t")) is None


def test_no_url_where_there_is_none() -> None:
    assert jupyter_url("http://example.org/ and ?token=\r\n") is None
    assert jupyter_url("") is None


def test_the_command_that_changes_the_secret_is_read_from_the_banner() -> None:
    assert change_command(BANNER) == "sudo dss-jupyter-password"
    assert change_command("Your own password:  run it") == ""
