# ruff: noqa: E501 - a script broken into lines would read worse
"""Faults of what is Bastide's on a host, or has its names."""

from __future__ import annotations

from preflight_fault import UNLOCK, Fault, installed, locker

MODEL = "M=$(ls $DISK/var/lib/bastide/models/*.gguf | head -1); "

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
        "model damaged, though nothing wrote to the file",
        "BAS-5163",
        MODEL
        + "touch -r $M $WORK/time; head -c 4096 $M > $WORK/head; "
        + "head -c 4096 /dev/zero | dd of=$M conv=notrunc status=none; touch -r $WORK/time $M",
        MODEL + "dd if=$WORK/head of=$M conv=notrunc status=none; touch -r $WORK/time $M",
    ),
    installed(
        "agent of another run at work",
        "BAS-5165",
        "on 'mkdir -p /run/bastide'; " + locker("/run/bastide/agent.lock", "flock"),
        UNLOCK,
    ),
)

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
    installed(
        "model damaged, of the right size",
        "",
        MODEL + "head -c 4096 /dev/zero | dd of=$M conv=notrunc status=none",
        "",
    ),
    installed("service stopped", "", "on 'systemctl stop bastide-gateway'", ""),
)
