"""Speed, measured beside timm on the same machine in the same run: ratios, not single figures."""
