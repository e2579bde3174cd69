# ruff: noqa: E501 - a script broken into lines would read worse
"""Faults between machines, on the control node and in the site's folder."""

from __future__ import annotations

from preflight_fault import Fault, edited

BLOB = "F=$BLOB; "  # the chat model in the store

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
