"""OpenSearch for the tests: a single node out of the jars of Maven Central, in the folder ``.opensearch``.

``python -m scripts.opensearch`` brings them (with Maven). A node (with Java) gets a folder of its own, by ``make_home``
and ``node``.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HOST = "127.0.0.1"
HOME = Path(__file__).parent.parent / ".opensearch"
MODULES = {
    "transport-netty4": "transport-netty4-client",
    "analysis-common": "analysis-common",
    "geo": "geo",
    "ingest-common": "ingest-common",
    "lang-painless": "lang-painless",
}
"""Folder, and artifact: HTTP, analyzers, geo_shape, and pipelines with their scripts."""
MAVEN = ["mvn", "--batch-mode", "--no-transfer-progress", "--quiet"]
MAVEN += ["--file", str(Path(__file__).with_name("opensearch-pom.xml"))]

DESCRIPTOR = """\
name={name}
description={name}
version={version}
opensearch.version={version}
java.version=11
classname={plugin}
extended.plugins=
has.native.controller=false
"""
# The jars come without the policies of a distribution. Without getClassLoader the node does not end by SIGTERM.
NETTY_POLICY = """\
grant {
  permission java.lang.RuntimePermission "getenv.*";
  permission java.lang.RuntimePermission "setContextClassLoader";
  permission java.lang.RuntimePermission "accessDeclaredMembers";
  permission java.lang.RuntimePermission "getClassLoader";
  permission java.lang.reflect.ReflectPermission "suppressAccessChecks";
  permission java.util.PropertyPermission "*", "read,write";
  permission java.net.SocketPermission "*", "accept,connect,listen,resolve";
  permission java.io.FilePermission "/proc/sys/net/core/somaxconn", "read";
};
"""
PAINLESS_POLICY = """\
grant {
  permission java.lang.RuntimePermission "createClassLoader";
  permission java.lang.RuntimePermission "accessDeclaredMembers";
  permission java.lang.RuntimePermission "getClassLoader";
};
"""
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""
SETTINGS = """\
discovery.type: single-node
network.host: {host}
http.port: {port}
transport.port: {transport_port}
cluster.routing.allocation.disk.threshold_enabled: false
"""


def fetch() -> None:
    """The jars of the pom into HOME, from scratch: ``lib``, and a folder for each module."""
    if not shutil.which("mvn"):
        sys.exit("Maven is missing: install it (Debian: apt-get install maven)")
    print("OpenSearch: fetching the jars ...", file=sys.stderr)
    shutil.rmtree(HOME, ignore_errors=True)
    _copy_jars(HOME / "lib")
    for name, artifact in MODULES.items():
        _fetch_module(HOME / "modules" / name, artifact)
    for name, policy in (("transport-netty4", NETTY_POLICY), ("lang-painless", PAINLESS_POLICY)):
        (HOME / f"modules/{name}/plugin-security.policy").write_text(policy)
    print(f"OpenSearch: {len(list(HOME.rglob('*.jar')))} jars in {HOME}", file=sys.stderr)


def _copy_jars(folder: Path, *options: str) -> None:
    target = [f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    subprocess.run([*MAVEN, "dependency:copy-dependencies", *target, *options], check=True)


def _fetch_module(folder: Path, artifact: str) -> None:
    """A jar that is in ``lib`` too would be refused."""
    _copy_jars(folder, f"-Dmodule={artifact}")
    for shared in (HOME / "lib").iterdir():
        (folder / shared.name).unlink(missing_ok=True)
    (jar,) = folder.glob(f"{artifact}-[0-9]*.jar")
    version = jar.stem.removeprefix(f"{artifact}-")
    (plugin,) = [name for name in zipfile.ZipFile(jar).namelist() if name.endswith("Plugin.class")]
    plugin = plugin.removesuffix(".class").replace("/", ".")
    text = DESCRIPTOR.format(name=folder.name, version=version, plugin=plugin)
    (folder / "plugin-descriptor.properties").write_text(text)


def at_hand() -> bool:
    """Are the jars there, and a Java to run them?"""
    descriptors = [HOME / f"modules/{name}/plugin-descriptor.properties" for name in MODULES]
    return all(path.exists() for path in descriptors) and shutil.which("java") is not None


def make_home(folder: Path, port: int, transport_port: int) -> None:
    """A node's own home in this folder, with a copy of the jars: who runs the node may have no way to HOME."""
    for name in ("lib", "modules"):
        shutil.copytree(HOME / name, folder / name)
    for name in ("bin", "plugins", "config", "data", "logs", "tmp"):
        (folder / name).mkdir()
    settings = SETTINGS.format(host=HOST, port=port, transport_port=transport_port)
    (folder / "config/opensearch.yml").write_text(settings)
    (folder / "config/log4j2.properties").write_text(LOGGING)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, "nobody")


def node(folder: Path) -> list[str]:
    """The command that runs the node whose home is this folder; as nobody, since as root it would not start."""
    options = [
        "-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8",
        f"-Djava.io.tmpdir={folder}/tmp", f"-Djna.tmpdir={folder}/tmp", "-Djna.nosys=true",
        "-Djava.security.manager=allow", "-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true",
        "-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true",
        "-Dio.netty.recycler.maxCapacityPerThread=0", "-Dio.netty.allocator.numDirectArenas=0",
        "--add-opens=java.base/java.io=ALL-UNNAMED", f"-Dopensearch.path.home={folder}",
        f"-Dopensearch.path.conf={folder}/config", "-Dopensearch.distribution.type=tar",
        "-Dopensearch.bundled_jdk=false",
    ]  # fmt: skip
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    return [*user, "java", *options, "-cp", f"{folder}/lib/*", "org.opensearch.bootstrap.OpenSearch"]


if __name__ == "__main__":
    fetch()
