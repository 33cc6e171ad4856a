"""nginx in front of the registry: it sends blobs from the registry's files by sendfile, and passes everything else on.

A registry's own program takes processor time for each range that it answers, on the same processors as the pull that is measured.
"""
import servers


def sendfile(lab, registry):
    """The address of the nginx, and the pids of what works for it."""
    blobs = lab.path("registry", "docker", "registry", "v2", "blobs", "sha256")
    addresses, _ = servers.nginx(lab, "sendfile", """
  sendfile on; tcp_nopush on; keepalive_requests 1000000; access_log off;
  server { listen $A;
    location ~ "^/v2/.+/blobs/sha256:(?<two>[0-9a-f][0-9a-f])(?<rest>[0-9a-f]+)$" {
      root %s; try_files /$two/$two$rest/data @registry; default_type application/octet-stream;
      add_header Docker-Distribution-Api-Version registry/2.0;
    }
    location / { proxy_pass http://%s; }
    location @registry { proxy_pass http://%s; }
  }""" % (blobs, registry, registry))
    return addresses[0], [process.pid for process in lab.processes if process.name in ("registry", "sendfile")]
