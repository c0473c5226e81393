"""What tests share: sites, servers, cases and judges."""
