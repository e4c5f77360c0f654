"""A femur ready for finite elements: mask, density and regions on an isotropic grid, and a closed surface."""
