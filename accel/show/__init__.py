"""What people look at: pages, and files for the viewers they have."""
