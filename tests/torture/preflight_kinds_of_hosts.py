# ruff: noqa: E501 - a script broken into lines would read worse
"""Faults of a host as it is before Bastide: reach, system, disks, packages."""

from __future__ import annotations

from preflight_fault import UNLOCK, Fault, edited, installed, locker

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
