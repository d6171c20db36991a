"""`python -m collbench.rank OPTION...`: the program that torchrun, mpirun and srun start, once a rank."""

from collbench.collectives.program.rank import main

if __name__ == "__main__":
    main(prog_name="python -m collbench.rank")
