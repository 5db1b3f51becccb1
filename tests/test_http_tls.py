"""Encrypted connections, and the proxies that the environment names."""

from __future__ import annotations

import ssl
import threading

import httpx
import pytest
import trustme

from agentkit._http import Aborter, HttpRequest, SyncHttp, parse_url
from agentkit._http.proxies import environment_proxy
from agentkit._http.tls import shared_context
from agentkit.errors import Cancelled, ConnectionFailed, UsageError
from tests.http_server import SIDES_AND_FAST, Limits, Peer, Server, always, answer, chunk, chunked_head, session

EACH_SIDE = pytest.mark.parametrize("side", SIDES_AND_FAST)
AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "authority.pem"))


@pytest.fixture
def _trusted(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


@EACH_SIDE
@pytest.mark.usefixtures("_trusted")
def test_an_authority_named_by_the_environment(side, tls):
    with Server(always(answer()), tls) as server, session(side) as http:
        for url in (server.url, server.url, server.url.replace("127.0.0.1", "localhost")):
            assert http.post(url).body == b"hello"
        assert server.connections == 2, "kept for each host"
        assert server.all_hung_up(0) is False


@EACH_SIDE
def test_a_certificate_that_nobody_vouches_for(side, tls):
    with Server(always(answer()), tls) as server, session(side) as http:
        with pytest.raises(ConnectionFailed, match=r"not trusted.*SSL_CERT_FILE") as caught:
            http.post(server.url)
        assert not caught.value.retryable
        assert server.all_hung_up()


@EACH_SIDE
@pytest.mark.usefixtures("_trusted")
def test_a_certificate_of_another_host(side):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("elsewhere.example").configure_cert(context)
    with (
        Server(always(answer()), context) as server,
        session(side) as http,
        pytest.raises(ConnectionFailed, match="not trusted"),
    ):
        http.post(server.url)


@EACH_SIDE
@pytest.mark.usefixtures("_trusted")
def test_a_server_that_does_not_encrypt(side):
    def script(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.send(answer(b"what?", status="400 Bad Request"))

    with Server(script) as server, session(side) as http, pytest.raises(ConnectionFailed, match=r"no TLS.*https"):
        http.post(server.url.replace("http", "https", 1))


@EACH_SIDE
@pytest.mark.usefixtures("_trusted")
def test_a_cut_under_tls(side, tls):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(chunked_head(), chunk(b"one"))

    with Server(script, tls) as server, session(side) as http:
        with pytest.raises(ConnectionFailed, match="before its answer was whole"):
            http.post(server.url)
        assert server.all_hung_up()


@EACH_SIDE
@pytest.mark.usefixtures("_trusted")
def test_a_large_request_under_tls(side, tls):
    body = bytes(range(256)) * 4000
    with Server(always(answer()), tls) as server, session(side) as http:
        assert http.post(server.url, body=body).status == 200
        assert server.requests[0].body == body


@pytest.mark.usefixtures("_trusted")
@pytest.mark.parametrize("client", [False, True])
def test_abort_under_tls(tls, client, tmp_path):
    def script(peer: Peer) -> None:
        peer.request()
        peer.wait_for_hangup()

    aborter, errors = Aborter(), []
    own = httpx.Client(trust_env=False, verify=ssl.create_default_context(cafile=tmp_path / "authority.pem"))
    http = SyncHttp(own if client else None)

    def wait() -> None:
        try:
            with http.open(HttpRequest(server.url, {}, b"{}"), Limits(30, 30, 30, 30), aborter=aborter):
                pass
        except Cancelled as error:
            errors.append(error)

    with Server(script, tls) as server:
        thread = threading.Thread(target=wait)
        thread.start()
        server.wait_for_requests(1)
        aborter.abort()
        thread.join(20)
        assert len(errors) == 1
        assert server.all_hung_up()
    http.close()
    own.close()


@pytest.mark.usefixtures("_trusted")
def test_one_context_serves_all():
    assert shared_context() is shared_context()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_certificates_that_are_not_there(monkeypatch, tmp_path, name):
    monkeypatch.setenv(name, str(tmp_path / "nowhere.pem"))
    if name == "SSL_CERT_DIR":
        assert shared_context() is not None  # a folder is looked at when a certificate is checked
        return
    with pytest.raises(UsageError, match=r"nowhere\.pem.*SSL_CERT_FILE"):
        shared_context()


@EACH_SIDE
def test_a_proxy_of_the_environment(side, monkeypatch):
    with (
        Server(always(answer(b"by proxy"))) as proxy,
        Server(always(answer(b"direct"))) as server,
        session(side) as http,
    ):
        monkeypatch.setenv("HTTP_PROXY", f"http://user:word@127.0.0.1:{proxy.port}")
        for _ in range(3):
            assert http.post("http://far.example/v1", body=b"abc").body == b"by proxy"
        assert server.requests == []
        assert proxy.connections == 1, "its connection is kept too"
        assert proxy.requests[0].line == "POST http://far.example/v1 HTTP/1.1"
        assert proxy.requests[0].body == b"abc"
        assert proxy.requests[0].headers["proxy-authorization"].startswith("Basic ")

        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert http.post(server.url).body == b"direct"
    assert proxy.all_hung_up(0)


@EACH_SIDE
@pytest.mark.usefixtures("_trusted")
def test_a_tunnel_through_a_proxy(side, monkeypatch, tls):
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        peer.sock = tls.wrap_socket(peer.sock, server_side=True)
        while peer.request() is not None:
            peer.send(answer(b"through"))

    with Server(script) as proxy, session(side) as http:
        monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{proxy.port}")
        for _ in range(2):
            assert http.post("https://localhost/v1", headers={"authorization": "Bearer key"}).body == b"through"
        assert proxy.connections == 1
        connect, first, _ = proxy.requests
        assert connect.line == "CONNECT localhost:443 HTTP/1.1"
        assert "authorization" not in connect.headers
        assert first.line == "POST /v1 HTTP/1.1" and first.headers["authorization"] == "Bearer key"


@EACH_SIDE
@pytest.mark.parametrize(
    ("proxy", "error", "says"),
    [
        ("http://127.0.0.1:1", ConnectionFailed, r"by the proxy 127\.0\.0\.1\) refused|no connection|proxy before"),
        ("ftp://127.0.0.1:1", UsageError, "HTTP_PROXY"),
        ("http://", UsageError, "HTTP_PROXY"),
        ("socks5://127.0.0.1:1", UsageError, "socks"),
    ],
)
def test_proxies_that_do_not_work(side, monkeypatch, proxy, error, says):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with session(side) as http, pytest.raises(error, match=says):
        http.post("http://far.example/")


@EACH_SIDE
def test_a_proxy_that_refuses(side, monkeypatch):
    with Server(always(answer(b"", status="407 Proxy Authentication Required"))) as proxy, session(side) as http:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ConnectionFailed, match="407"):
            http.post("https://far.example/")
        assert proxy.all_hung_up()


NO_PROXY = [
    "*", "a.example", ".a.example", "*.a.example", "A.Example", "a.example:8080", "a.example,b.example",
    " b.example , ", "10.0.0.1", "10.0.0.0/8", "10.0.0.1:8080", "::1", "localhost", "LocalHost", "http://a.example", "https://a.example",
    "https://*.a.example", "all://a.example:8080", "example", "", "http://[", "10.0.0",
]  # fmt: skip
URLS = [
    "http://a.example/", "https://a.example/", "http://x.a.example/", "http://xa.example/", "http://a.example:8080/",
    "https://b.example/", "http://10.0.0.1/", "http://10.0.0.0/", "http://10.0.0.1:8080/", "http://[::1]/",
    "http://localhost/", "https://x.localhost/", "https://x.a.example:8080/",
]  # fmt: skip


@pytest.mark.parametrize("spared", NO_PROXY)
def test_no_proxy_means_what_httpx_takes_it_for(monkeypatch, spared):
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:2")
    monkeypatch.setenv("NO_PROXY", spared)
    try:
        client = httpx.Client()
    except httpx.InvalidURL:
        return  # it takes no such entry at all; ours has no effect
    with client:
        for url in URLS:
            ours = environment_proxy(parse_url(url).url)
            transport = client._transport_for_url(httpx.URL(url))  # noqa: SLF001  # the one way to see its choice
            theirs = getattr(transport._pool, "_proxy_url", None)  # noqa: SLF001  # the same
            assert (ours and ours.url.port) == (theirs and theirs.port), url
