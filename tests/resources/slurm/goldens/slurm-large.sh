#!/bin/sh
#SBATCH --job-name=ccat-7c4b
#SBATCH --comment=ccat:7c4b
#SBATCH --array=0-4,6-7%5
#SBATCH --no-requeue
#SBATCH --output=/dev/null
#SBATCH --chdir=/base
#SBATCH --export=ALL
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16282M
#SBATCH --time=132
#SBATCH --gres=gpu:2
#SBATCH --account=ccat
#SBATCH --constraint=rome&ib
#SBATCH --exclusive
#SBATCH --nice=100
#SBATCH --partition=gpu
#SBATCH --qos=normal
#SBATCH --reservation=nightly

export CCAT_JOB_ID="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
module load apptainer
umask 022
case "$SLURM_ARRAY_TASK_ID" in
  0) set -- '/base/it'"'"'s/0' key-0 ;;
  1) set -- '/base/it'"'"'s/1' key-1 ;;
  2) set -- '/base/it'"'"'s/2' key-2 ;;
  3) set -- '/base/it'"'"'s/3' key-3 ;;
  4) set -- '/base/it'"'"'s/4' key-4 ;;
  6) set -- '/base/it'"'"'s/6' key-6 ;;
  7) set -- '/base/it'"'"'s/7' key-7 ;;
  *) exit 64 ;;
esac
mkdir -p "$1/logs"
exec '/opt/python 3/bin/python3' -I -S /base/.program/node-0123456789ab.pyz wrapper "$1" "$2" >>"$1/logs/wrapper.log" 2>&1
