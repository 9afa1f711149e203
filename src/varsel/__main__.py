"""`python -m varsel`: how `varsel up` starts its children, whatever the path says."""

from varsel.cli.main import main

main()
