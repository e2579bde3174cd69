# ruff: noqa: E501 - a script broken into lines would read worse
"""The kinds of faults for ``preflight_faults.py``: how each is injected and undone, in shell.

The scripts run on the machine that has the lab. ``on '…'`` runs a command on the fault's host; $DISK
is that host's root folder seen from outside, $NETNS its network namespace, $SITE the site's folder,
$CONTROL the control node's network namespace.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Args:
        kind: What it is, for the table.
        code: With what it should be refused.
        inject: Script that makes it.
        undo: Script that takes it away.
        site: ``installed`` (host1), ``fresh`` (host2) or ``two``.
        host: Whose disk must not change.
        asks: The command that should refuse it.
        exit_code: With which exit code.
        apply: The apply that is tried then.
        apply_exits: With which exit codes it may refuse: all say that nothing was changed.
    """

    kind: str
    code: str
    inject: str
    undo: str
    site: str = "fresh"
    host: str = "host2"
    asks: str = "preflight"
    exit_code: int = 5
    apply: str = "apply --replan --yes"
    apply_exits: tuple[int, ...] = (5,)


def installed(kind: str, code: str, inject: str, undo: str) -> Fault:
    """Return a fault of the host that has been installed."""
    return Fault(kind, code, inject, undo, site="installed", host="host1")


def edited(kind: str, code: str, expression: str, site: str = "fresh", **more: object) -> Fault:
    """Return a fault that is a mistake in site.yaml, as a sed expression."""
    inject = f"cp $SITE/site.yaml $WORK/kept.yaml; sed -i {expression} $SITE/site.yaml"
    inject += "; ! cmp -s $SITE/site.yaml $WORK/kept.yaml"
    undo = "mv $WORK/kept.yaml $SITE/site.yaml"
    return Fault(kind, code, inject, undo, site=site, **more)  # type: ignore[arg-type]


def locker(path: str, how: str) -> str:
    """Return a script that holds a lock on the host until the unit ``locker`` is stopped."""
    return (
        "cat > $DISK/root/hold.py <<'P'\n"
        f"import fcntl, time\nf = open('{path}', 'a')\nfcntl.{how}(f, fcntl.LOCK_EX)\ntime.sleep(600)\nP\n"
        "on 'systemd-run -q --unit locker python3 /root/hold.py'; sleep 1"
    )


UNLOCK = "on 'systemctl stop locker; rm /root/hold.py'"
BLOB = "F=$BLOB; "  # the chat model in the store
MODEL = "M=$(ls $DISK/var/lib/bastide/models/*.gguf | head -1); "
GENERATION = "G=$(readlink -f $DISK/opt/bastide/generations/*/ | head -1); "
TMPFS = "on 'mkdir -p {path} && mount -t tmpfs -o {options} tmpfs {path}'"
UMOUNT = "on 'umount {path}'"
UMOUNT_OURS = "on 'umount {path} && rmdir {path}'"
BIND = "on 'mount --bind {path} {path} && mount -o remount,bind,{options} {path}'"
DEB = (
    "on 'mkdir -p /root/deb/DEBIAN && cd /root && printf \"Package: {name}\\nVersion: {version}\\n"
    'Architecture: all\\nMaintainer: x <x@x>\\nDescription: x\\n" > deb/DEBIAN/control && {script}'
    " dpkg-deb --build deb x.deb >/dev/null && (dpkg -i x.deb >/dev/null 2>&1 || true)'"
)
PURGE = "on 'rm -rf /root/deb /root/x.deb; dpkg --force-all --purge {name} >/dev/null 2>&1'"

REACH = (
    Fault("host is down", "BAS-5003", "bastide lab kill --host host2", "bastide lab up"),
    edited("wrong address of a host", "BAS-5003", "s/address:.*$ADDRESS.*/'address: '$NETWORK.77/"),
    Fault(
        "SSH key refused",
        "BAS-5004",
        "mv $DISK/root/.ssh/authorized_keys $DISK/root/.ssh/kept",
        "mv $DISK/root/.ssh/kept $DISK/root/.ssh/authorized_keys",
    ),
    Fault(
        "host key changed",
        "BAS-5004",
        "cp $SITE/site.yaml $WORK/kept.yaml; rm -f $WORK/k $WORK/k.pub; "
        "ssh-keygen -q -t ed25519 -N '' -f $WORK/k; echo $ADDRESS $(cut -d' ' -f1,2 $WORK/k.pub) > $WORK/kh; "
        "sed -i s,known_hosts:.*,'known_hosts: '$WORK/kh, $SITE/site.yaml",
        "mv $WORK/kept.yaml $SITE/site.yaml; rm $WORK/k $WORK/k.pub $WORK/kh",
    ),
    Fault(
        "key file that others can read",
        "BAS-5183",
        "cp $SITE/site.yaml $WORK/kept.yaml; cp $KEY $WORK/key; chmod 644 $WORK/key; "
        "sed -i s,private_key:.*,'private_key: '$WORK/key, $SITE/site.yaml",
        "mv $WORK/kept.yaml $SITE/site.yaml; rm $WORK/key",
    ),
    Fault(
        "python3 missing",
        "BAS-5011",
        "mv $DISK/usr/bin/python3 $DISK/usr/bin/kept",
        "mv $DISK/usr/bin/kept $DISK/usr/bin/python3",
    ),
    Fault(
        "python3 without its ssl module",
        "BAS-5011",
        "mv $DISK/usr/lib/python3.11/ssl.py $DISK/usr/lib/python3.11/kept",
        "mv $DISK/usr/lib/python3.11/kept $DISK/usr/lib/python3.11/ssl.py",
    ),
    Fault(
        "login without root's rights and without sudo",
        "BAS-5011",
        "on 'useradd -m op && mkdir -m 700 /home/op/.ssh && cp /root/.ssh/authorized_keys "
        "/home/op/.ssh/ && chown -R op: /home/op/.ssh'; cp $SITE/site.yaml $WORK/kept.yaml; "
        "sed -i 's/user: root/user: op/' $SITE/site.yaml; grep -q 'user: op' $SITE/site.yaml",
        "mv $WORK/kept.yaml $SITE/site.yaml; on 'userdel -r op 2>/dev/null'",
    ),
)

SYSTEM = (
    Fault(
        "another distribution",
        "BAS-5005",
        "sed -i s/^ID=debian/ID=slackware/ $DISK/usr/lib/os-release",
        "sed -i s/^ID=slackware/ID=debian/ $DISK/usr/lib/os-release",
    ),
    Fault(
        "another version of the distribution",
        "BAS-5005",
        """sed -i 's/^VERSION_ID="12"/VERSION_ID="11"/' $DISK/usr/lib/os-release""",
        """sed -i 's/^VERSION_ID="11"/VERSION_ID="12"/' $DISK/usr/lib/os-release""",
    ),
    Fault(
        "no machine id",
        "BAS-5126",
        "cp -p $DISK/etc/machine-id $WORK/id; : > $DISK/etc/machine-id",
        "cp -p $WORK/id $DISK/etc/machine-id",
    ),
    Fault(
        "apt-get missing",
        "BAS-5121",
        "mv $DISK/usr/bin/apt-get $DISK/usr/bin/kept",
        "mv $DISK/usr/bin/kept $DISK/usr/bin/apt-get",
    ),
    Fault(
        "port of a service taken",
        "BAS-5008",
        "on 'systemd-run -q --unit squatter python3 -m http.server 8443'; sleep 1",
        "on 'systemctl stop squatter'",
    ),
    Fault(
        "port of the gateway's metrics taken",
        "BAS-5008",
        "on 'systemd-run -q --unit squatter python3 -m http.server 8404'; sleep 1",
        "on 'systemctl stop squatter'",
    ),
)

PLACES = (
    Fault(
        "disk too small for the artifacts",
        "BAS-5006",
        TMPFS.format(path="/var/lib/bastide", options="size=60m"),
        UMOUNT_OURS.format(path="/var/lib/bastide"),
    ),
    Fault(
        "disk of /opt full",
        "BAS-5006",
        TMPFS.format(path="/opt", options="size=200m") + "; on 'fallocate -l 199M /opt/full'",
        UMOUNT.format(path="/opt"),
    ),
    Fault(
        "no inodes left below /opt",
        "BAS-5133",
        TMPFS.format(path="/opt", options="size=9g,nr_inodes=500"),
        UMOUNT.format(path="/opt"),
    ),
    Fault(
        "/opt mounted read-only",
        "BAS-5131",
        BIND.format(path="/opt", options="ro"),
        UMOUNT.format(path="/opt"),
    ),
    Fault(
        "/etc/systemd/system mounted read-only",
        "BAS-5131",
        BIND.format(path="/etc/systemd/system", options="ro"),
        UMOUNT.format(path="/etc/systemd/system"),
    ),
    Fault(
        "/opt mounted noexec",
        "BAS-5132",
        BIND.format(path="/opt", options="noexec"),
        UMOUNT.format(path="/opt"),
    ),
    Fault(
        "/var/lib/bastide in memory (tmpfs)",
        "BAS-5135",
        TMPFS.format(path="/var/lib/bastide", options="size=9g"),
        UMOUNT_OURS.format(path="/var/lib/bastide"),
    ),
    Fault(
        "/run full",
        "BAS-5142",
        "on 'fallocate -l $(( $(stat -f -c %a*%S /run) - 65536 )) /run/full'",
        "on 'rm /run/full'",
    ),
    Fault(
        "folder with the attribute immutable",
        "BAS-5139",
        "chattr +i $DISK/etc/systemd/system",
        "chattr -i $DISK/etc/systemd/system",
    ),
    Fault(
        "/opt/bastide a link to elsewhere",
        "BAS-5136",
        "on 'mkdir /srv/b && ln -s /srv/b /opt/bastide'",
        "on 'rm /opt/bastide && rmdir /srv/b'",
    ),
    Fault(
        "/var/lib/bastide a file",
        "BAS-5136",
        "on 'touch /var/lib/bastide'",
        "on 'rm /var/lib/bastide'",
    ),
    Fault(
        "/opt/bastide full of something else",
        "BAS-5158",
        "on 'mkdir /opt/bastide && touch /opt/bastide/theirs'",
        "on 'rm -r /opt/bastide'",
    ),
    installed(
        "/etc/bastide writable by everyone",
        "BAS-5138",
        "on 'chmod 777 /etc/bastide'",
        "on 'chmod 755 /etc/bastide'",
    ),
    installed(
        "/opt/bastide owned by a user",
        "BAS-5137",
        "on 'chown daemon /opt/bastide'",
        "on 'chown root /opt/bastide'",
    ),
)

PACKAGES = (
    Fault(
        "package half configured",
        "BAS-5144",
        DEB.format(
            name="broken",
            version="1",
            script='printf "#!/bin/sh\\nexit 1\\n" > deb/DEBIAN/postinst && chmod 755 deb/DEBIAN/postinst &&',
        ),
        PURGE.format(name="broken"),
    ),
    Fault(
        "dpkg's lock held",
        "BAS-5146",
        locker("/var/lib/dpkg/lock-frontend", "lockf"),
        UNLOCK,
    ),
    Fault(
        "needed package on hold, older",
        "BAS-5147",
        DEB.format(name="haproxy", version="0.1", script="")
        + "; on 'echo haproxy hold | dpkg --set-selections'",
        PURGE.format(name="haproxy"),
    ),
    Fault(
        "apt pin forbids a needed package",
        "BAS-5148",
        "on 'printf \"Package: haproxy\\nPin: release *\\nPin-Priority: -1\\n\" > /etc/apt/preferences.d/no'",
        "on 'rm /etc/apt/preferences.d/no'",
    ),
    Fault(
        "mistake in apt's settings",
        "BAS-5149",
        "on 'echo \"APT { nonsense\" > /etc/apt/apt.conf.d/99no'",
        "on 'rm /etc/apt/apt.conf.d/99no'",
    ),
    Fault(
        "dpkg's database empty",
        "BAS-5143",
        "cp -p $DISK/var/lib/dpkg/status $WORK/status; : > $DISK/var/lib/dpkg/status",
        "cp -p $WORK/status $DISK/var/lib/dpkg/status",
    ),
    Fault(
        "dpkg interrupted",
        "BAS-5145",
        "on 'printf \"Package: x\\n\" > /var/lib/dpkg/updates/0001'",
        "on 'rm /var/lib/dpkg/updates/0001'",
    ),
    Fault(
        "haproxy.service of somebody else",
        "BAS-5151",
        "on 'printf \"[Service]\\nExecStart=/bin/true\\n\" > /etc/systemd/system/haproxy.service'",
        "on 'rm /etc/systemd/system/haproxy.service'",
    ),
)

NAMES = (
    Fault(
        "user with our name who is a person",
        "BAS-5153",
        "on 'useradd -u 1500 -s /bin/bash bastide-llm'",
        "on 'userdel bastide-llm'",
    ),
    Fault(
        "user with our name who is root",
        "BAS-5153",
        "on 'useradd -o -u 0 -g 0 -s /usr/sbin/nologin bastide-llm'",
        "on 'sed -i /^bastide-llm:/d /etc/passwd /etc/shadow'",
    ),
    Fault(
        "group with our name that has members",
        "BAS-5154",
        "on 'groupadd -r bastide-gateway && gpasswd -a daemon bastide-gateway >/dev/null'",
        "on 'groupdel bastide-gateway'",
    ),
    Fault(
        "unit of somebody else with our name",
        "BAS-5155",
        "on 'printf \"[Service]\\nExecStart=/bin/true\\n\" > /etc/systemd/system/bastide-llm.service'",
        "on 'rm /etc/systemd/system/bastide-llm.service'",
    ),
    installed(
        "unit of somebody else that would be removed with ours",
        "BAS-5155",
        "on 'printf \"[Service]\\nExecStart=/bin/true\\n\" > /etc/systemd/system/bastide-backup.service'",
        "on 'rm /etc/systemd/system/bastide-backup.service'",
    ),
    installed(
        "our unit masked",
        "BAS-5156",
        "on 'systemctl -q mask --runtime bastide-llm 2>/dev/null; test -L /run/systemd/system/bastide-llm.service'",
        "on 'systemctl -q unmask --runtime bastide-llm 2>/dev/null'",
    ),
    installed(
        "drop-in on our unit",
        "BAS-5157",
        "on 'mkdir /etc/systemd/system/bastide-llm.service.d && "
        'printf "[Service]\\nUser=root\\n" > /etc/systemd/system/bastide-llm.service.d/mine.conf\'',
        "on 'rm -r /etc/systemd/system/bastide-llm.service.d && systemctl daemon-reload'",
    ),
)

LEFTOVERS = (
    installed(
        "current leads to a generation that is gone",
        "BAS-5159",
        "on 'ln -sfn generations/99 /opt/bastide/current'",
        "on 'ln -sfn generations/$(ls /opt/bastide/generations | sort -n | tail -1) /opt/bastide/current'",
    ),
    Fault(
        "current is a folder",
        "BAS-5159",
        "on 'mkdir -p /opt/bastide/current'",
        "on 'rm -r /opt/bastide'",
    ),
    installed(
        "record of the live generation damaged",
        "BAS-5160",
        "on 'cd /opt/bastide/current && cp -p generation.json /root/kept && echo x > generation.json'",
        "on 'cp -p /root/kept /opt/bastide/current/generation.json'",
    ),
    installed(
        "interpreter of the live generation gone",
        "BAS-5161",
        "on 'mv /opt/bastide/current/venv/bin/python /root/kept.python'",
        "on 'mv /root/kept.python /opt/bastide/current/venv/bin/python'",
    ),
    installed(
        "library of the live generation cut off",
        "BAS-5161",
        "on 'f=$(find -L /opt/bastide/current/venv/lib -name libllama.so | head -1); "
        'cp -p "$f" /root/kept.so && rm "$f" && head -c 1000 /root/kept.so > "$f"; echo "$f" > /root/where\'',
        "on 'cp -p /root/kept.so \"$(cat /root/where)\"'",
    ),
    installed(
        "link to the engine's plug-ins leads nowhere",
        "BAS-5162",
        "on 'cd /opt/bastide/current/backends && f=$(ls | head -1) && readlink $f > /root/kept.link "
        "&& echo $f > /root/where && ln -sfn nowhere $f'",
        "on 'ln -sfn $(cat /root/kept.link) /opt/bastide/current/backends/$(cat /root/where)'",
    ),
    installed(
        "model damaged, of the right size",
        "BAS-5163",
        MODEL
        + "head -c 4096 $M > $WORK/head; head -c 4096 /dev/zero | dd of=$M conv=notrunc status=none",
        MODEL + "dd if=$WORK/head of=$M conv=notrunc status=none",
    ),
    installed(
        "agent of another run at work",
        "BAS-5165",
        "on 'mkdir -p /run/bastide'; " + locker("/run/bastide/agent.lock", "flock"),
        UNLOCK,
    ),
)

FORWARD = """cat > $WORK/forward.py <<'P'
import asyncio, sys
async def pump(source, sink):
    while part := await source.read(65536):
        sink.write(part)
        await sink.drain()
    sink.close()
async def serve(reader, writer):
    there, back = await asyncio.open_connection(sys.argv[2], 22)
    await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(serve, sys.argv[1], 2222) as server:
        await server.serve_forever()
asyncio.run(main())
P
ip netns exec $CONTROL setsid python3 $WORK/forward.py $NETWORK.1 $ADDRESS >/dev/null 2>&1 & echo $! > $WORK/pid; sleep 1
cp $SITE/site.yaml $WORK/kept.yaml
sed -n "s/.*,$ADDRESS /[$NETWORK.1]:2222 /p" $KNOWN_HOSTS > $WORK/kh
sed -i -e "s,known_hosts:.*,known_hosts: $WORK/kh," -e "s/ $ADDRESS\\$/ $NETWORK.1/" -e 's/port: 22$/port: 2222/' $SITE/site.yaml
"""

NETWORK = (
    Fault(
        "packets from the host to the depot are lost",
        "BAS-5171",
        "ip -n $NETNS neigh replace $NETWORK.99 lladdr 02:00:00:00:00:99 dev host0 nud permanent; "
        "ip -n $NETNS route add default via $NETWORK.99 dev host0 table 100; "
        "ip -n $NETNS rule add ipproto tcp dport 8740 lookup 100",
        "ip -n $NETNS rule del ipproto tcp dport 8740 lookup 100; "
        "ip -n $NETNS route flush table 100; ip -n $NETNS neigh del $NETWORK.99 dev host0",
    ),
    Fault(
        "the host may not connect to the depot",
        "BAS-5171",
        "ip -n $NETNS rule add ipproto tcp dport 8740 prohibit",
        "ip -n $NETNS rule del ipproto tcp dport 8740 prohibit",
    ),
    Fault(
        "the gateway has no way to the LLM server",
        "BAS-5172",
        "ip -n $NETNS rule add ipproto tcp dport 8081 unreachable",
        "ip -n $NETNS rule del ipproto tcp dport 8081 unreachable",
        site="two",
        host="host1",
    ),
    Fault(
        "address that only leads to the host (forwarded)",
        "BAS-5169",
        FORWARD,
        "mv $WORK/kept.yaml $SITE/site.yaml; kill $(cat $WORK/pid)",
    ),
    Fault(
        "one machine under two addresses",
        "BAS-5127",
        "on 'ip address add '$NETWORK.67'/24 dev host0'; cp $SITE/site.yaml $WORK/kept.yaml; "
        "sed s/,$ADDRESS/,$NETWORK.67/ $KNOWN_HOSTS > $WORK/kh; cat $KNOWN_HOSTS >> $WORK/kh; "
        'sed -i -e "s,known_hosts:.*,known_hosts: $WORK/kh," -e "s/ $NETWORK.11\\$/ $NETWORK.67/" $SITE/site.yaml; '
        "grep -q $NETWORK.67 $SITE/site.yaml",
        "mv $WORK/kept.yaml $SITE/site.yaml; on 'ip address del '$NETWORK.67'/24 dev host0'",
        site="two",
    ),
)

CONTROL = (
    Fault(
        "depot's port taken on the control node",
        "BAS-5060",
        "ip netns exec $CONTROL setsid python3 -m http.server 8740 >/dev/null 2>&1 & echo $! > $WORK/pid; sleep 1",
        "kill $(cat $WORK/pid)",
    ),
    edited(
        "control_address of another machine",
        "BAS-5173",
        "s/control_address:.*/'control_address: 192.0.2.9'/",
    ),
    Fault("artifact missing in the store", "BAS-5064", BLOB + "mv $F $WORK/blob; echo $F > $WORK/where",
          "mv $WORK/blob $(cat $WORK/where)"),
    Fault("artifact in the store cut off", "BAS-5174",
          BLOB + "cp -p $F $WORK/blob; rm $F; head -c 5000 $WORK/blob > $F; echo $F > $WORK/where",
          "rm -f $(cat $WORK/where); mv $WORK/blob $(cat $WORK/where)"),
    Fault("artifact in the store damaged, of the right size", "BAS-5175",
          BLOB + "cp -p $F $WORK/blob; cp $F $WORK/bad; printf x | dd of=$WORK/bad bs=1 seek=3000000 conv=notrunc status=none; "
          "rm $F; mv $WORK/bad $F; echo $F > $WORK/where",
          "rm -f $(cat $WORK/where); mv $WORK/blob $(cat $WORK/where)"),
    Fault("vault password lost", "BAS-5176", "mv $BASTIDE_HOME/vault $BASTIDE_HOME/kept",
          "mv $BASTIDE_HOME/kept $BASTIDE_HOME/vault", apply_exits=(5, 2)),
    Fault("site CA's file damaged", "BAS-5177", "cp $SITE/ca.pem $WORK/ca; echo x > $SITE/ca.pem",
          "mv $WORK/ca $SITE/ca.pem"),
    Fault("site CA ended", "BAS-5178",
          "cp $SITE/ca.pem $WORK/ca; "
        "python - $SITE/ca.pem <<'P'\n"
          "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\nfrom bastide.site.pki import make_authority\n"
          "Path(sys.argv[1]).write_text(make_authority('old', datetime(2010, 1, 1, tzinfo=UTC)).certificate_pem)\nP",
          "mv $WORK/ca $SITE/ca.pem"),
    Fault("disk of the site's folder full", "BAS-5180",
          "cp -a $SITE $WORK/kept.site; mount -t tmpfs -o size=20m tmpfs $SITE; cp -a $WORK/kept.site/. $SITE/",
          "umount $SITE; rm -r $WORK/kept.site", apply_exits=(5, 1)),
    Fault("site's folder read-only", "BAS-5181",
          "mount --bind $SITE $SITE; mount -o remount,bind,ro $SITE", "umount $SITE", apply_exits=(5, 1)),
    edited("context longer than the model knows", "BAS-5012", "'s/context_tokens:.*/context_tokens: 200000/'"),
    edited("more memory asked for than there is", "BAS-5007", "'s/parallel: 8/parallel: 256/; s/context_tokens:.*/context_tokens: 8192/'"),
    edited("port that needs root's rights", "BAS-5114", "'s/llm_port:.*/llm_port: 81/'"),
    edited("bundle for another target", "BAS-2027", "'s/^target:.*/target: debian13-x86_64/'", exit_code=2, apply_exits=(2,)),
    Fault("plan that is stale", "BAS-5065",
          "bastide lab exec -- bastide plan --site $SITE >/dev/null 2>&1; cp $SITE/site.yaml $WORK/kept.yaml; "
          "sed -i 's/queue_seconds:.*/queue_seconds: 33/' $SITE/site.yaml",
          "mv $WORK/kept.yaml $SITE/site.yaml; rm $SITE/plan.json", asks="apply", apply="apply"),
    Fault("another run at work on the site", "BAS-9001",
          "setsid flock -F -x $SITE/.lock sleep 600 >/dev/null 2>&1 & echo $! > $WORK/pid; sleep 1",
          "kill $(cat $WORK/pid)",
          asks="apply --replan --yes", exit_code=9, apply_exits=(9,)),
)  # fmt: skip

FAULTS = (*REACH, *SYSTEM, *PLACES, *PACKAGES, *NAMES, *LEFTOVERS, *NETWORK, *CONTROL)

MENDED = (
    installed(
        "configuration file changed by hand",
        "",
        "on 'echo \"# mine\" >> /opt/bastide/current/etc/haproxy.cfg'",
        "",
    ),
    installed(
        "model cut off",
        "",
        MODEL + "truncate -s 1000 $M",
        "",
    ),
    installed("service stopped", "", "on 'systemctl stop bastide-gateway'", ""),
)
