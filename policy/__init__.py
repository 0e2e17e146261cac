"""The stack's rules, and the policy pack that holds `pulumi preview` and `pulumi up` to them."""
