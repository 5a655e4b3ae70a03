#!/bin/sh
# mpirun as the tests need it: also for root in a container, and with more ranks than CPUs. usage: mpirun.sh RANKS PROGRAM ...
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_plm_rsh_agent=false
export OMPI_MCA_btl_vader_single_copy_mechanism=none
ranks=$1
shift
exec mpirun -np "$ranks" "$@"
