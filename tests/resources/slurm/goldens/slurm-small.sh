#!/bin/sh
#SBATCH --job-name=ccat-5e0d
#SBATCH --comment=ccat:5e0d
#SBATCH --array=0
#SBATCH --no-requeue
#SBATCH --output=/dev/null
#SBATCH --chdir=/base
#SBATCH --export=ALL
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=512M
#SBATCH --time=4

export CCAT_JOB_ID="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
case "$SLURM_ARRAY_TASK_ID" in
  0) set -- /base/attempts/12-2 key-a ;;
  *) exit 64 ;;
esac
mkdir -p "$1/logs"
exec python3 -I -S /base/.program/node-0123456789ab.pyz wrapper "$1" "$2" >>"$1/logs/wrapper.log" 2>&1
