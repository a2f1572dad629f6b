"""podman, as it runs without a service manager, and the images that the tests need."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from cases import BINARY, DEPLOY

# Names of this run alone, so that two runs do not meet, nor a run what another left behind.
RUN = f"{os.getpid()}"
IMAGE = f"localhost/innopaas-proxy:{RUN}"
APPLICATION = f"localhost/shop:{RUN}"

# For machines that are containers themselves: their limits may be lower than the default ones, cgroups of
# both versions may be mounted, which crun refuses, and nobody holds cgroups or a journal.
CONFIGURATION = """
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""

# What a container may do: nothing but what the manifests allow it.
HARDENED = (
    "--read-only --cap-drop ALL --security-opt no-new-privileges --user 65532 --memory 64m --pids-limit 50"
).split()

# What podman is made of, and what the tests put into namespaces, by a program of each.
PACKAGES = {
    "podman": "podman", "buildah": "buildah", "runc": "runc", "/usr/lib/podman/netavark": "netavark",
    "/usr/lib/podman/aardvark-dns": "aardvark-dns", "conmon": "conmon", "catatonit": "catatonit", "newuidmap": "uidmap",
    "iptables": "iptables", "nft": "nftables", "busybox": "busybox-static", "dnsmasq": "dnsmasq-base",
    "openssl": "openssl", "nsenter": "util-linux",
    # Has no program, but podman does not run without its files.
    "/usr/share/containers/containers.conf": "golang-github-containers-common",
}


class Podman:
    """podman with a configuration of its own; gone with its folder when the test ends."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="deploy-"))
        self.folder.chmod(0o755)
        configuration = self.folder / "containers.conf"
        configuration.write_text(CONFIGURATION)
        self.environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}

    def __call__(self, *arguments, input=None, check=True, timeout=180):
        """What it prints; raises with what it complains about."""
        command = ["podman", *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, input=input, text=True, capture_output=True, timeout=timeout,
            cwd=self.folder,  # where conmon leaves a file about a container that ran out of memory
        )
        if check and done.returncode:
            raise AssertionError(f"podman {' '.join(map(str, arguments[:4]))}: {done.stderr.strip()}")
        return done.stdout.strip()

    def inspect(self, name):
        """What podman knows of a container."""
        return json.loads(self("container", "inspect", name))[0]

    def remove(self):
        """Removes the images, and the folder with everything that the tests wrote."""
        self("rmi", "-f", APPLICATION, IMAGE, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def build_image(podman, *options, form="docker"):
    """The runtime stage of the Dockerfile around a ready program; answers the image's id."""
    context = podman.folder / "context"
    context.mkdir(exist_ok=True)
    shutil.copy(BINARY, context / "innopaas-proxy")
    # Without `docker` there is no HEALTHCHECK; without layers of the past nothing random is left.
    return podman(
        "build", "-q", "--format", form, "--timestamp", "0", "--no-cache", "--layers=false",
        "--target", "ready", "-f", DEPLOY / "Dockerfile", *options, context,
    ).splitlines()[-1]


def build_application(podman):
    """An application's image: a shell, an HTTP client, and our program to wait with."""
    context = podman.folder / "application"
    context.mkdir(exist_ok=True)
    shutil.copy(shutil.which("busybox"), context / "busybox")
    (context / "Dockerfile").write_text(
        "FROM scratch\n"
        f"COPY --from={IMAGE} /innopaas-proxy /innopaas-proxy\n"
        "COPY busybox /bin/busybox\n"
        "COPY busybox /bin/sh\n"
        "COPY busybox /bin/wget\n"
        "COPY busybox /bin/sleep\n"
        "USER 65533:65533\n"
    )
    podman("build", "-q", "-t", APPLICATION, context)
