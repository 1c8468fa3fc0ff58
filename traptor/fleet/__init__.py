"""The fleet as Redis shows it: who lives, who holds which rules, what a person has to see to.

Begin with ``roster``; ``overview`` says what it means, ``page`` shows it to browsers, ``rebalance`` moves the rules of
the dead, ``doctor`` looks at what one Traptor needs. It knows Traptors by what they write, never as objects.
"""
