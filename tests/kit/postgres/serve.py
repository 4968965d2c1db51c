"""PostgreSQL on a port that is free, with a directory of its own, until the standard
input ends. Prints the port. Its one user is `admin`, with the password that the first
line of the standard input says."""
import ctypes, glob, os, pwd, shutil, signal, socket, subprocess, sys, tempfile

PR_SET_PDEATHSIG = 1


def tool(name):
    """Of the newest version, as Debian puts them, or as anybody else does."""
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: float(path.split("/")[4]))
    return found[-1] if found else shutil.which(name) or sys.exit(f"there is no {name}: install postgresql")


def user():
    """Who it runs as: root may not."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    sys.exit("there is no user but root, as whom PostgreSQL does not run")


def become(who):
    if who:
        os.setgroups([])
        os.setgid(who.pw_gid)
        os.setuid(who.pw_uid)
    # It ends with this process, however that ends.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    password = sys.stdin.readline().strip()
    who = user()
    directory = tempfile.mkdtemp(prefix="strongroom-postgres-")
    server, log = None, open(f"{directory}/log", "w+")
    try:
        if who:
            os.chown(directory, who.pw_uid, who.pw_gid)
        data, secret = f"{directory}/data", f"{directory}/password"
        run = dict(preexec_fn=lambda: become(who), cwd=directory, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        # As its owner: the password is for nobody else.
        subprocess.run(["sh", "-c", f'umask 077; printf %s "$PASSWORD" > {secret}'], check=True,
                       env={"PASSWORD": password, "PATH": os.defpath}, **run)
        subprocess.run([tool("initdb"), "-D", data, "-A", "scram-sha-256", "-U", "admin", f"--pwfile={secret}",
                        "--no-sync", "-E", "UTF8", "--locale=C"], check=True, **run)
        for _ in range(5):
            port = free_port()
            server = subprocess.Popen([tool("postgres"), "-D", data, "-p", str(port), "-F",
                                       "-c", "listen_addresses=127.0.0.1",
                                       "-c", f"unix_socket_directories={directory}"],
                                      stderr=log, **run)
            # The port may be taken by now.
            ready = [tool("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
            for _ in range(600):
                if server.poll() is not None:
                    break
                if subprocess.run(ready, **run).returncode == 0:
                    print(port, flush=True)
                    sys.stdin.read()
                    return
                try:
                    server.wait(0.05)
                except subprocess.TimeoutExpired:
                    pass
        log.seek(0)
        sys.exit(f"PostgreSQL does not serve: {log.read()}")
    finally:
        if server and server.poll() is None:
            server.send_signal(signal.SIGQUIT)
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)


main()
