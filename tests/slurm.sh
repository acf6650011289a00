#!/usr/bin/env bash
# A SLURM cluster of one node, for tests; needs root, and Debian's slurm-wlm and munge.
#
#   tests/slurm.sh start FOLDER    starts munged, slurmctld and slurmd, all of whose files are in FOLDER; the commands
#                                  of SLURM reach them with SLURM_CONF=FOLDER/slurm.conf
#   tests/slurm.sh stop FOLDER     cancels all jobs and ends the three
set -euo pipefail
action=$1 folder=$2
export SLURM_CONF=$folder/slurm.conf

configure() {
  local port cores host
  host=$(hostname -s)
  cores=$(getconf _NPROCESSORS_ONLN)  # nproc would tell OMP_NUM_THREADS
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
  mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
  chmod 755 "$folder/munge"  # munged refuses a socket that others cannot reach
  head -c 1024 /dev/urandom > "$folder/munge/key"
  chmod 600 "$folder/munge/key"
  # No cgroups: a container may lack them. cred_expire is also how long a requeued job waits.
  cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port == 65535 ? port - 1 : port + 1))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
KillWait=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores Boards=1 SocketsPerBoard=1 CoresPerSocket=$cores ThreadsPerCore=1
PartitionName=work Nodes=$host Default=YES MaxTime=60 State=UP PriorityTier=1 GraceTime=4
PartitionName=urgent Nodes=$host MaxTime=60 State=UP PriorityTier=2
CONF
}

start() {
  configure
  munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" 2> "$folder/munge/errors"
  slurmctld -c
  slurmd
  for _ in $(seq 100); do
    if [ "$(sinfo --noheader --partition=work --format=%t 2> /dev/null)" = idle ]; then return; fi
    sleep 0.2
  done
  echo "error: the node did not come up; see $folder/slurmctld.log and $folder/slurmd.log." >&2
  exit 1
}

stop() {
  scancel --user=root --signal=KILL --full || true
  scancel --user=root || true
  for _ in $(seq 100); do  # slurmd leaves the processes of running jobs behind
    if [ -z "$(squeue --noheader)" ]; then break; fi
    sleep 0.2
  done
  for pid in "$folder/slurmd.pid" "$folder/slurmctld.pid" "$folder/munge/pid"; do
    if [ -f "$pid" ]; then kill "$(cat "$pid")" || true; fi
  done
}

"$action"
