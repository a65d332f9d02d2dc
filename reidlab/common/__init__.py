"""What every room uses: paths, errors, progress, parallel work, the device, files."""
