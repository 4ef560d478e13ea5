"""What this machine is, and how it fares: processor, memory and its speed, battery, temperature, this process."""
