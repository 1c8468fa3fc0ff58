from traptor.cli import main

main()
